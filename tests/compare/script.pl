# A script interpreter at work: hashes, regular expressions, string building.
use strict;
use warnings;

my $n = shift // 120000;
my (%seen, $text);
for my $i (1 .. $n) {
    my $word = sprintf 'w%d', $i * 7919 % 997;
    $seen{$word} += $i;
    $text .= "$word " if $i % 3 == 0;
}
my $digits = () = $text =~ /\d/g;
(my $swapped = $text) =~ s/(\d)(\d)/$2$1/g;
my $sum = 0;
$sum = ($sum * 31 + ord) % 1000003 for split //, substr $swapped, 0, 20000;
print join(' ', scalar keys %seen, $digits, $sum), "\n";
