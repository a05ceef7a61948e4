//! The kernel modules by which Linux finds a disk of either kind with ext4 on it.

use crate::archive::Archive;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Those for disks.
const DISKS: [&str; 6] =
    ["virtio_pci", "virtio_blk", "ata_piix", "sd_mod", "crc32c_generic", "ext4"];

/// The modules, and those that they need.
pub(crate) struct Modules {
    /// Where each of the kernel's modules is.
    all: BTreeMap<String, PathBuf>,
    /// Those that are loaded, each after what it needs.
    order: Vec<String>,
}

impl Modules {
    /// Those for disks, of the kernel whose modules are below `folder`.
    pub(crate) fn of(folder: &Path) -> Modules {
        Modules::named(folder, &DISKS)
    }

    /// Those of these names.
    pub(crate) fn named(folder: &Path, names: &[&str]) -> Modules {
        let mut modules = Modules { all: BTreeMap::new(), order: Vec::new() };
        find(folder, &mut modules.all);
        names.iter().for_each(|name| modules.want(name));
        modules
    }

    /// Has `name` loaded after the modules that it needs.
    fn want(&mut self, name: &str) {
        let name = name.replace('-', "_");
        if self.order.contains(&name) {
            return;
        }
        let path = self.all.get(&name);
        let path = path.unwrap_or_else(|| panic!("the kernel has no module {name}"));
        let file = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let field = b"\0depends=";
        let at = file.windows(field.len()).position(|window| window == field);
        let list = at.map_or(&[][..], |at| &file[at + field.len()..]);
        let list = list.split(|byte| *byte == 0).next().unwrap_or_default();
        for needed in String::from_utf8_lossy(list).split(',').filter(|name| !name.is_empty()) {
            self.want(needed);
        }
        self.order.push(name);
    }

    /// Puts them into a RAM disk, and a folder where the disk can be mounted.
    pub(crate) fn add_to(&self, archive: &mut Archive) {
        archive.add("disk", 0o040_755, &[], (0, 0));
        archive.add("modules", 0o040_755, &[], (0, 0));
        for name in &self.order {
            let module = fs::read(&self.all[name]).expect("it has been read before");
            archive.add(&format!("modules/{name}.ko"), 0o100_644, &module, (0, 0));
        }
    }

    /// What loads them.
    pub(crate) fn insert(&self) -> String {
        let insert = |name: &String| format!("insmod /modules/{name}.ko\n");
        self.order.iter().map(insert).collect()
    }

    /// What loads them and waits for the disk.
    pub(crate) fn commands(&self) -> String {
        let wait = "i=0; while [ ! -b /dev/vda -a ! -b /dev/sda -a $i -lt 100 ]; do sleep 0.1; \
                    i=$((i+1)); done\n";
        self.insert() + wait
    }
}

/// Kernel modules by name, below `folder`.
fn find(folder: &Path, found: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, found);
        } else if let Some(name) =
            path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko"))
        {
            found.insert(name.replace('-', "_"), path.clone());
        }
    }
}
