//! A bar chart with a logarithmic scale, as SVG.

use std::fmt::Write as _;

/// Bars in groups; the scale begins at 1.
pub(crate) struct BarChart {
    /// What is shown.
    pub(crate) title: String,
    /// A name for each bar of a group.
    pub(crate) series: Vec<String>,
    /// The groups, from the top.
    pub(crate) groups: Vec<Group>,
}

/// One group of bars.
pub(crate) struct Group {
    /// Its name.
    pub(crate) label: String,
    /// A value for each series, where there is one.
    pub(crate) values: Vec<Option<f64>>,
}

const COLORS: [&str; 6] = ["#9aa0a6", "#0b6e4f", "#3fa34d", "#e09f3e", "#9e2a2b", "#540b0e"];
const LEFT: f64 = 120.0;
const WIDTH: f64 = 600.0;
const TOP: f64 = 70.0;
const BAR: f64 = 14.0;
const GAP: f64 = 16.0;

impl BarChart {
    /// The picture.
    pub(crate) fn draw(&self) -> String {
        let greatest = self
            .groups
            .iter()
            .flat_map(|group| group.values.iter().flatten())
            .fold(2.0_f64, |a, b| a.max(*b));
        let x = |value: f64| LEFT + WIDTH * value.max(1.0).ln() / (greatest * 1.2).ln();
        let group_height = BAR * self.series.len() as f64 + GAP;
        let bottom = TOP + group_height * self.groups.len() as f64;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"12\" y=\"22\" font-size=\"15\">{}</text>\n",
            LEFT + WIDTH + 60.0,
            bottom + 30.0,
            escape(&self.title),
        );
        for (i, name) in self.series.iter().enumerate() {
            let at = LEFT + 110.0 * i as f64;
            let color = COLORS[i % COLORS.len()];
            let name = escape(name);
            let _ = writeln!(
                svg,
                "<rect x=\"{at}\" y=\"36\" width=\"12\" height=\"12\" fill=\"{color}\"/>\
                 <text x=\"{}\" y=\"47\">{name}</text>",
                at + 17.0,
            );
        }
        for tick in ticks(greatest) {
            let at = x(tick);
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}×</text>",
                bottom + 16.0,
            );
        }
        for (g, group) in self.groups.iter().enumerate() {
            let top = TOP + group_height * g as f64 + GAP / 2.0;
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                top + (group_height - GAP) / 2.0 + 4.0,
                escape(&group.label),
            );
            for (i, value) in group.values.iter().enumerate() {
                let Some(value) = *value else { continue };
                let y = top + BAR * i as f64;
                let _ = writeln!(
                    svg,
                    "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>\
                     <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\">{value:.1}×</text>",
                    (x(value) - LEFT).max(1.0),
                    BAR - 2.0,
                    COLORS[i % COLORS.len()],
                    x(value) + 4.0,
                    y + BAR - 4.0,
                );
            }
        }
        svg += "</svg>\n";
        svg
    }
}

/// 1, 2, 5, 10, 20, … as far as the greatest value.
fn ticks(greatest: f64) -> Vec<f64> {
    let decades = (0..).map(|n| 10_f64.powi(n));
    decades
        .flat_map(|decade| [decade, 2.0 * decade, 5.0 * decade])
        .take_while(|tick| *tick <= greatest * 1.2)
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_end_at_the_greatest_value() {
        assert_eq!(ticks(12.0), [1.0, 2.0, 5.0, 10.0]);
    }

    #[test]
    fn absent_values_leave_gaps() {
        let group = Group { label: "a<b".to_owned(), values: vec![None, Some(3.0)] };
        let series = vec!["x".to_owned(), "y".to_owned()];
        let svg = BarChart { title: String::new(), series, groups: vec![group] }.draw();
        assert!(svg.contains("a&lt;b") && svg.matches("3.0×").count() == 1);
    }
}
