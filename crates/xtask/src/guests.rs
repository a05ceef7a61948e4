//! Guest programs beyond our own: the host's where it has them, else Debian packages unpacked under
//! target/guests/root. Links in target/guests/bin name them all.

use crate::shell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program and the packages that hold it and its libraries. Libraries that the host has anyway
/// (the C library and what every Debian system needs) are not named.
struct Program {
    name: &'static str,
    packages: &'static [&'static str],
}

const PROGRAMS: &[Program] = &[
    Program { name: "busybox", packages: &["busybox-static"] },
    Program { name: "bash", packages: &["bash"] },
    Program { name: "lua5.4", packages: &["lua5.4", "libreadline8"] },
    Program { name: "sqlite3", packages: &["sqlite3", "libsqlite3-0", "libreadline8"] },
    Program { name: "xz", packages: &["xz-utils", "liblzma5"] },
    Program { name: "zstd", packages: &["zstd", "libzstd1", "liblz4-1", "liblzma5", "zlib1g"] },
    Program { name: "openssl", packages: &["openssl", "libssl3"] },
    Program { name: "perl", packages: &["perl-base"] },
    Program {
        name: "python3",
        packages: &[
            "python3-minimal",
            "python3.11-minimal",
            "libpython3.11-minimal",
            "libpython3.11-stdlib",
        ],
    },
    Program { name: "git", packages: &["git"] },
    Program { name: "mtools", packages: &["mtools"] },
    Program { name: "syslinux", packages: &["syslinux"] },
    Program {
        name: "mke2fs",
        packages: &["e2fsprogs", "libext2fs2", "libblkid1", "libcom-err2", "libuuid1"],
    },
    Program {
        name: "e2fsck",
        packages: &["e2fsprogs", "libext2fs2", "libblkid1", "libcom-err2", "libuuid1"],
    },
    Program {
        name: "debugfs",
        packages: &["e2fsprogs", "libext2fs2", "libss2", "libblkid1", "libcom-err2", "libuuid1"],
    },
    Program {
        name: "qemu-img",
        packages: &[
            "qemu-utils",
            "libaio1",
            "libfuse3-3",
            "libglib2.0-0",
            "libgmp10",
            "libgnutls30",
            "libhogweed6",
            "libnettle8",
            "libnuma1",
            "liburing2",
        ],
    },
    Program {
        name: "stress-ng",
        packages: &[
            "stress-ng",
            "libapparmor1",
            "libbsd0",
            "libdrm2",
            "libegl1",
            "libexpat1",
            "libffi8",
            "libgbm1",
            "libgles2",
            "libglvnd0",
            "libipsec-mb1",
            "libjpeg62-turbo",
            "libjudydebian1",
            "libkmod2",
            "liblzma5",
            "libmd0",
            "libsctp1",
            "libssl3",
            "libwayland-server0",
            "libxxhash0",
            "libzstd1",
            "zlib1g",
        ],
    },
    Program { name: "gcc", packages: &[] },
    Program { name: "riscv64-linux-gnu-gcc", packages: &[] },
];

/// A kernel that is booted: its name here, and the package that depends on the newest.
struct Kernel {
    name: &'static str,
    package: &'static str,
    source: Source,
}

const KERNELS: &[Kernel] = &[
    Kernel { name: "vmlinuz-cloud", package: "linux-image-cloud-amd64", source: Source::Host },
    Kernel { name: "vmlinuz-generic", package: "linux-image-amd64", source: Source::Host },
    Kernel { name: "vmlinuz-686", package: "linux-image-686", source: Source::I386 },
];

/// Whose packages are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The host's.
    Host,
    /// Those of Debian for 32-bit processors, whose lists are kept apart from the host's.
    I386,
}

impl Source {
    /// One of APT's tools, for these packages.
    fn apt(self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        if self == Source::I386 {
            let lists = Source::lists();
            let option = |name: &str, value: &Path| format!("{name}={}", value.display());
            command.args(["-o", "APT::Architecture=i386", "-o", "APT::Architectures=i386"]);
            command.args(["-o", "Dir::State::status=/dev/null"]);
            command.args(["-o", &option("Dir::State::lists", &lists.join("lists"))]);
            command.args(["-o", &option("Dir::Cache", &lists.join("cache"))]);
        }
        command
    }

    fn lists() -> PathBuf {
        folder().join("i386-apt")
    }

    /// Fetches the lists of packages, if they are not the host's and are not there.
    fn update(self) -> Result<(), String> {
        let lists = Source::lists();
        let known = fs::read_dir(lists.join("lists")).into_iter().flatten().flatten();
        let mut known = known.map(|entry| entry.file_name().to_string_lossy().into_owned());
        if self == Source::Host || known.any(|name| name.contains("_Packages")) {
            return Ok(());
        }
        for folder in ["lists/partial", "cache/archives/partial"] {
            let folder = lists.join(folder);
            fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        // Some of the lists may be missing; whether those that count are there is seen later.
        let _ = shell::output(self.apt("apt-get").arg("update"));
        Ok(())
    }
}

/// A file or folder of a package, which is linked under a name.
struct Medium {
    name: &'static str,
    package: &'static str,
    path: &'static str,
    source: Source,
}

/// The Debian installer's folder in its package.
macro_rules! installer {
    ($file:literal) => {
        concat!("usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/", $file)
    };
}

/// What machines are started from.
const MEDIA: &[Medium] = &[
    Medium { name: "seabios", package: "seabios", path: "usr/share/seabios", source: Source::Host },
    Medium {
        name: "grub-rescue.iso",
        package: "grub-rescue-pc",
        path: "usr/lib/grub-rescue/grub-rescue-cdrom.iso",
        source: Source::Host,
    },
    Medium {
        name: "syslinux-mbr.bin",
        package: "syslinux-common",
        path: "usr/lib/syslinux/mbr/mbr.bin",
        source: Source::Host,
    },
    Medium {
        name: "memtest.iso",
        package: "memtest86+",
        path: "usr/lib/memtest86+/memtest86+x64.iso",
        source: Source::Host,
    },
    Medium {
        name: "installer-linux",
        package: "debian-installer-12-netboot-amd64",
        path: installer!("linux"),
        source: Source::Host,
    },
    Medium {
        name: "installer-initrd.gz",
        package: "debian-installer-12-netboot-amd64",
        path: installer!("initrd.gz"),
        source: Source::Host,
    },
    Medium {
        name: "busybox-i386",
        package: "busybox-static",
        path: "bin/busybox",
        source: Source::I386,
    },
];

/// The programs that were found.
#[derive(Debug)]
pub(crate) struct Guests {
    programs: BTreeMap<&'static str, PathBuf>,
}

impl Guests {
    /// Where `name` is.
    pub(crate) fn get(&self, name: &str) -> Option<&Path> {
        self.programs.get(name).map(PathBuf::as_path)
    }

    /// The cloud kernel, and the folder of its modules.
    pub(crate) fn kernel() -> Result<(PathBuf, PathBuf), String> {
        let image = folder().join("vmlinuz-cloud");
        let modules = folder().join("vmlinuz-cloud.root/lib/modules");
        let versions = fs::read_dir(&modules).ok().into_iter().flatten().flatten();
        match (image.exists(), versions.map(|entry| entry.path()).next()) {
            (true, Some(version)) => Ok((image, version)),
            _ => Err("the cloud kernel is missing".to_owned()),
        }
    }

    /// Where the shared libraries of unpacked programs are.
    pub(crate) fn libraries() -> PathBuf {
        folder().join("root/usr/lib/x86_64-linux-gnu")
    }
}

fn folder() -> PathBuf {
    shell::target().join("guests")
}

/// Finds or fetches every program, and says which are missing.
pub(crate) fn collect() -> Result<Guests, String> {
    let bin = folder().join("bin");
    let unpacked = folder().join("root");
    fs::create_dir_all(&bin).map_err(|e| format!("{}: {e}", bin.display()))?;
    let mut guests = Guests { programs: BTreeMap::new() };
    let mut missing = Vec::new();
    for program in PROGRAMS {
        let place = shell::find(program.name)
            .or_else(|| unpacked_program(&unpacked, program.name))
            .or_else(|| fetch(program, &unpacked).inspect_err(|e| missing.push(e.clone())).ok());
        if let Some(place) = place {
            let link = bin.join(program.name);
            if fs::read_link(&link).ok().as_deref() != Some(&place) {
                let _ = fs::remove_file(&link);
                std::os::unix::fs::symlink(&place, &link)
                    .map_err(|e| format!("{}: {e}", link.display()))?;
            }
            guests.programs.insert(program.name, place);
        }
    }
    if let Some(python) = guests.get("python3") {
        let _ = python_tests(python, &unpacked).inspect_err(|e| missing.push(e.clone()));
    }
    for kernel in KERNELS {
        match find_kernel(kernel) {
            Ok(place) => println!("guests: {:22} {}", kernel.name, place.display()),
            Err(e) => missing.push(e),
        }
    }
    for medium in MEDIA {
        match find_medium(medium, &unpacked) {
            Ok(place) => println!("guests: {:22} {}", medium.name, place.display()),
            Err(e) => missing.push(e),
        }
    }
    for (name, place) in &guests.programs {
        println!("guests: {name:22} {}", place.display());
    }
    for message in missing {
        println!("guests: {message}; tests that need it are left out");
    }
    Ok(guests)
}

fn unpacked_program(unpacked: &Path, name: &str) -> Option<PathBuf> {
    ["usr/bin", "bin", "usr/sbin", "sbin"]
        .iter()
        .map(|bin| unpacked.join(bin).join(name))
        .find(|file| file.exists())
}

/// Python's own tests, for the version that the host has.
fn python_tests(python: &Path, unpacked: &Path) -> Result<(), String> {
    let script = "import sys; print('%d.%d' % sys.version_info[:2])";
    let version = shell::output(Command::new(python).args(["-c", script]))?;
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    let file = format!("usr/lib/python{version}/test/test_math.py");
    if Path::new("/").join(&file).exists() || unpacked.join(&file).exists() {
        return Ok(());
    }
    let tests = format!("libpython{version}-testsuite");
    unpack("python's tests", &[&tests], unpacked, Source::Host)
}

/// The kernel, linked under its name.
fn find_kernel(&Kernel { name, package, source }: &Kernel) -> Result<PathBuf, String> {
    let link = folder().join(name);
    if link.exists() {
        return Ok(link);
    }
    let failed = |e: &dyn std::fmt::Display| format!("{name:22} missing: {e}");
    source.update()?;
    let depends = shell::output(source.apt("apt-cache").args(["depends", package]));
    let depends = depends.map_err(|e| failed(&e))?;
    let depends = String::from_utf8_lossy(&depends).into_owned();
    let image = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
        .ok_or_else(|| failed(&format!("{package} names no kernel")))?;
    let root = folder().join(name.to_owned() + ".root");
    fs::create_dir_all(&root).map_err(|e| failed(&e))?;
    unpack(name, &[image], &root, source)?;
    let boot = root.join("boot");
    let file = fs::read_dir(&boot)
        .map_err(|e| failed(&e))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz")))
        .ok_or_else(|| failed(&format!("{image} holds none")))?;
    std::os::unix::fs::symlink(&file, &link).map_err(|e| failed(&e))?;
    Ok(link)
}

/// The medium, which is the host's or is fetched, linked under its name.
fn find_medium(medium: &Medium, unpacked: &Path) -> Result<PathBuf, String> {
    let source = medium.source;
    let root = match source {
        Source::Host => unpacked.to_path_buf(),
        Source::I386 => folder().join(medium.name.to_owned() + ".root"),
    };
    let host = Path::new("/").join(medium.path);
    let is_hosts = source == Source::Host && host.exists();
    let place = if is_hosts { host } else { root.join(medium.path) };
    if !place.exists() {
        source.update()?;
        unpack(medium.name, &[medium.package], &root, source)?;
    }
    let failed = |e: &dyn std::fmt::Display| format!("{:22} missing: {e}", medium.name);
    if !place.exists() {
        return Err(failed(&format!("{} does not hold it", medium.package)));
    }
    let link = folder().join(medium.name);
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(&place, &link).map_err(|e| failed(&e))?;
    Ok(place)
}

/// Downloads and unpacks a program's packages.
fn fetch(program: &Program, unpacked: &Path) -> Result<PathBuf, String> {
    let name = program.name;
    if program.packages.is_empty() {
        return Err(format!("{name:22} missing: the host has none"));
    }
    unpack(name, program.packages, unpacked, Source::Host)?;
    unpacked_program(unpacked, name)
        .ok_or_else(|| format!("{name:22} missing: its packages do not hold it"))
}

/// Downloads and unpacks packages that hold `name`.
fn unpack(name: &str, packages: &[&str], unpacked: &Path, source: Source) -> Result<(), String> {
    for tool in ["apt-get", "dpkg-deb"] {
        if shell::find(tool).is_none() {
            return Err(format!("{name:22} missing: the host has neither it nor {tool}"));
        }
    }
    let downloads = folder().join("downloads").join(name);
    let failed = |e: &dyn std::fmt::Display| format!("{name:22} missing: {e}");
    fs::create_dir_all(&downloads).map_err(|e| failed(&e))?;
    let mut download = source.apt("apt-get");
    download.arg("download").arg("-q").args(packages).current_dir(&downloads);
    shell::output(&mut download).map_err(|e| failed(&e))?;
    for package in fs::read_dir(&downloads).map_err(|e| failed(&e))?.flatten() {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(package.path()).arg(unpacked);
        shell::output(&mut unpack).map_err(|e| failed(&e))?;
    }
    Ok(())
}
