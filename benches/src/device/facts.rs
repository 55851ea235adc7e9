//! What a device is: asked of its shell before anything of ours is there.
//!
//! Everything is read from where Linux tells it (proc(5), sysfs), by commands that any POSIX system has; what a
//! device does not tell is not known, and is no error.

use edgepack_engine::kernels::isa::IsaSet;
use edgepack_targets::transport::{SHORT, quote};
use serde::Serialize;

use super::Reached;
use super::arch::machine_of;
use crate::Error;

/// What a device tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DeviceFacts {
    /// As its user names it.
    pub device: String,
    /// Whether it is emulated: then memory, disk and system are this machine's, and the rest is left out.
    pub emulated: bool,
    /// The architecture, such as `aarch64`.
    pub arch: String,
    /// The board or computer, as its firmware calls it.
    pub model: Option<String>,
    /// The system, such as `Debian GNU/Linux 12 (bookworm)`.
    pub system: Option<String>,
    /// The kernel's name and release.
    pub kernel: Option<String>,
    /// The C library and its version. The agent is static and needs none.
    pub libc: Option<String>,
    /// Processors.
    pub cores: Option<u32>,
    /// The instruction sets that the agent uses there; without it, those of the processor.
    pub isa: Option<String>,
    /// The instruction sets of the processor, by what the kernel says of it.
    pub processor_isa: Option<String>,
    /// Memory, in KiB.
    pub memory_total_kib: Option<u64>,
    /// Memory that programs can have without swapping, in KiB.
    pub memory_available_kib: Option<u64>,
    /// The most that this login or its control group may have, in KiB.
    pub memory_limit_kib: Option<u64>,
    /// Flash that a package can have, in KiB, of a microcontroller; its memory is the RAM. It has no files.
    pub flash_free_kib: Option<u64>,
    /// The folder whose free space was asked for.
    pub disk_folder: String,
    /// Free space there, in KiB.
    pub disk_free_kib: Option<u64>,
    /// The governor of the first processor's frequency.
    pub governor: Option<String>,
    /// Its frequency now, in MHz.
    pub frequency_mhz: Option<u64>,
    /// Its highest frequency, in MHz.
    pub frequency_max_mhz: Option<u64>,
    /// The highest temperature of its sensors, in degrees Celsius.
    pub temperature_c: Option<f64>,
    /// What slows it, or has since it was started, as the Raspberry Pi's firmware tells it.
    pub throttled: Vec<&'static str>,
    /// Processes that ran or wanted to in the last minute, on average.
    pub load: Option<f64>,
    /// The version of the agent there.
    pub agent: Option<String>,
}

/// The bits of `vcgencmd get_throttled` (Raspberry Pi documentation, "vcgencmd").
const THROTTLED: [(u32, &str); 8] = [
    (0, "under-voltage now"),
    (1, "frequency capped now"),
    (2, "throttled now"),
    (3, "soft limit of temperature now"),
    (16, "under-voltage since it was started"),
    (17, "frequency capped since it was started"),
    (18, "throttled since it was started"),
    (19, "soft limit of temperature since it was started"),
];

impl Reached {
    /// What the device tells of itself; its disk is that of `folder`, or of the nearest one above that is there.
    ///
    /// # Errors
    /// The connection fails.
    pub fn facts(&self, folder: Option<&str>) -> Result<DeviceFacts, Error> {
        let output = self.transport.run(&script(folder), &[], SHORT)?;
        let mut facts = parse(&output.text());
        facts.device = self.transport.name().into();
        if let Some(board) = &self.emulated {
            let own = facts;
            if let Some(microcontroller) = board.microcontroller() {
                return Ok(DeviceFacts {
                    emulated: true,
                    arch: board.arch.clone(),
                    model: Some(board.description.clone()),
                    device: own.device,
                    cores: Some(1),
                    memory_total_kib: Some(microcontroller.ram.kib.into()),
                    flash_free_kib: Some(microcontroller.flash.kib.into()),
                    ..DeviceFacts::default()
                });
            }
            facts = DeviceFacts {
                emulated: true,
                arch: board.arch.clone(),
                model: Some(board.description.clone()),
                device: own.device,
                system: own.system,
                kernel: own.kernel,
                cores: own.cores,
                memory_total_kib: own.memory_total_kib,
                memory_available_kib: own.memory_available_kib,
                memory_limit_kib: own.memory_limit_kib,
                disk_folder: own.disk_folder,
                disk_free_kib: own.disk_free_kib,
                ..DeviceFacts::default()
            };
        }
        Ok(facts)
    }
}

/// Sections that begin with `==name`.
fn script(folder: Option<&str>) -> String {
    let home = "\"${HOME:-/tmp}\"";
    let folder = match folder.map(|folder| (folder, folder.strip_prefix("~/"))) {
        None | Some(("~", _)) => home.into(),
        Some((_, Some(rest))) => format!("{home}/{}", quote(rest)),
        Some((folder, None)) => quote(folder),
    };
    format!(
        "exec 2>/dev/null
echo ==machine; uname -m
echo ==kernel; uname -sr
echo ==system; grep ^PRETTY_NAME= /etc/os-release
echo ==android; getprop ro.build.version.release
echo ==model; tr -d '\\000' < /proc/device-tree/model || cat /sys/class/dmi/id/product_name
echo; echo ==libc; getconf GNU_LIBC_VERSION || ldd --version | head -n 1 || ls /lib/ld-musl-* | head -n 1
echo ==cores; getconf _NPROCESSORS_ONLN || nproc
echo ==features; grep -iE '^(flags|features)' /proc/cpuinfo | head -n 1
echo ==memory; cat /proc/meminfo
echo ==limit; ulimit -v
echo ==group; cat /sys/fs/cgroup/memory.max; cat /sys/fs/cgroup/memory.current
echo ==load; cat /proc/loadavg
echo ==governor; cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor
echo ==frequency; cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq
echo ==highest; cat /sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq
echo ==temperature; cat /sys/class/thermal/thermal_zone*/temp
echo ==throttled; vcgencmd get_throttled
d={folder}; while [ ! -d \"$d\" ]; do n=$(dirname \"$d\"); [ \"$n\" = \"$d\" ] && break; d=$n; done
echo ==folder; echo \"$d\"
echo ==disk; df -Pk \"$d\" | tail -n 1
exit 0"
    )
}

fn parse(text: &str) -> DeviceFacts {
    let section = |name: &str| {
        let mut lines = text.lines().skip_while(|line| line.strip_prefix("==") != Some(name)).skip(1);
        let own = std::iter::from_fn(|| lines.next().filter(|line| !line.starts_with("==")));
        own.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let first = |name: &str| section(name).first().map(|line| line.to_string());
    let number =
        |name: &str| first(name).and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let memory = |key: &str| {
        let lines = section("memory");
        let line = lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let group = section("group");
    let bytes = |at: usize| group.get(at).and_then(|line| line.parse::<u64>().ok());
    // What the control group may have, less what it has.
    let group_kib = bytes(0).map(|most| most.saturating_sub(bytes(1).unwrap_or(0)) / 1024);
    let arch = machine_of(&first("machine").unwrap_or_default());
    let features = first("features").and_then(|line| Some(line.split_once(':')?.1.to_string()));
    let throttled = first("throttled")
        .and_then(|line| u32::from_str_radix(line.split_once("=0x")?.1, 16).ok())
        .unwrap_or(0);
    let millidegrees = section("temperature").iter().filter_map(|line| line.parse::<i64>().ok()).max();
    DeviceFacts {
        model: first("model"),
        system: first("android")
            .map(|version| format!("Android {version}"))
            .or(first("system").map(|line| line.trim_start_matches("PRETTY_NAME=").trim_matches('"').into())),
        kernel: first("kernel"),
        libc: first("libc"),
        cores: number("cores").map(|cores| cores as u32),
        processor_isa: features.map(|features| processor_isa(&arch, &features).to_string()),
        memory_total_kib: memory("MemTotal"),
        memory_available_kib: memory("MemAvailable"),
        memory_limit_kib: [number("limit"), group_kib].into_iter().flatten().min(),
        disk_folder: first("folder").unwrap_or_default(),
        // Filesystem, blocks, used, available, … (POSIX df -P)
        disk_free_kib: first("disk").and_then(|line| line.split_whitespace().nth(3)?.parse().ok()),
        governor: first("governor"),
        frequency_mhz: number("frequency").map(|khz| khz / 1000),
        frequency_max_mhz: number("highest").map(|khz| khz / 1000),
        temperature_c: millidegrees.map(|value| value as f64 / 1000.0),
        throttled: THROTTLED
            .iter()
            .filter(|(bit, _)| throttled >> bit & 1 != 0)
            .map(|(_, text)| *text)
            .collect(),
        load: first("load").and_then(|line| line.split_whitespace().next()?.parse().ok()),
        arch,
        ..DeviceFacts::default()
    }
}

/// What the kernel's words for features mean for us (Linux, arch/*/kernel/cpuinfo.c and its kin).
fn processor_isa(arch: &str, features: &str) -> IsaSet {
    let has = |name: &str| features.split_whitespace().any(|word| word == name);
    let all = |names: &[&str]| names.iter().all(|name| has(name));
    let table: &[(bool, IsaSet)] = match arch {
        "aarch64" => &[
            (has("asimd"), IsaSet::NEON),
            (all(&["asimd", "asimddp"]), IsaSet::DOTPROD),
            (all(&["asimd", "asimddp", "i8mm"]), IsaSet::I8MM),
        ],
        // A 32-bit login on a 64-bit kernel that shows its own words.
        "armv7" => &[(has("neon") || has("asimd"), IsaSet::NEON32)],
        _ => {
            let avx512 = all(&["avx2", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"]);
            &[
                (has("avx2"), IsaSet::AVX2),
                (all(&["avx2", "avx_vnni"]), IsaSet::AVX_VNNI),
                (avx512, IsaSet::AVX512_VNNI),
                (avx512 && has("avx512vbmi"), IsaSet::AVX512_VBMI),
            ]
        }
    };
    table.iter().filter(|(there, _)| *there).fold(IsaSet::SCALAR, |set, (_, more)| set.union(*more))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PI4: &str = "==machine\naarch64\n==kernel\nLinux 6.1.21-v8+\n==system\n\
        PRETTY_NAME=\"Debian GNU/Linux 11 (bullseye)\"\n==android\n==model\nRaspberry Pi 4 Model B Rev 1.4\n\
        ==libc\nglibc 2.31\n==cores\n4\n==features\nFeatures\t: fp asimd evtstrm crc32 cpuid\n==memory\n\
        MemTotal:        1893000 kB\nMemFree:          900000 kB\nMemAvailable:    1400000 kB\n==limit\nunlimited\n\
        ==group\nmax\n4096\n==load\n0.08 0.03 0.01 1/143 2101\n==governor\nondemand\n==frequency\n600000\n\
        ==highest\n1500000\n==temperature\n48686\n47000\n==throttled\nthrottled=0x50000\n==folder\n/home/pi\n\
        ==disk\n/dev/root        30358152 5120000 23955880      18% /\n";

    #[test]
    fn what_a_board_tells_is_read() {
        let facts = parse(PI4);
        assert_eq!((facts.arch.as_str(), facts.cores), ("aarch64", Some(4)));
        assert_eq!(facts.model.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
        assert_eq!(facts.system.as_deref(), Some("Debian GNU/Linux 11 (bullseye)"));
        assert_eq!(facts.libc.as_deref(), Some("glibc 2.31"));
        assert_eq!(facts.processor_isa.as_deref(), Some("neon"));
        assert_eq!((facts.memory_total_kib, facts.memory_available_kib), (Some(1_893_000), Some(1_400_000)));
        assert_eq!((facts.memory_limit_kib, facts.disk_free_kib), (None, Some(23_955_880)));
        assert_eq!((facts.frequency_mhz, facts.frequency_max_mhz), (Some(600), Some(1500)));
        assert_eq!((facts.temperature_c, facts.load), (Some(48.686), Some(0.08)));
        assert_eq!(facts.throttled, ["under-voltage since it was started", "throttled since it was started"]);
    }

    #[test]
    fn what_a_board_does_not_tell_is_not_known() {
        let facts = parse("==machine\nriscv64\n==memory\n==limit\n20000\n==group\n1048576000\n1000000000\n");
        assert_eq!(facts.arch, "riscv64");
        assert_eq!((facts.memory_available_kib, facts.libc, facts.load), (None, None, None));
        // The least of the login's and the group's; 48,576,000 bytes are left to the group.
        assert_eq!(facts.memory_limit_kib, Some(20_000));
        assert_eq!(parse("==group\n1048576000\n1000000000\n").memory_limit_kib, Some(47_437));
        assert_eq!(parse(""), DeviceFacts::default());
    }

    #[test]
    fn features_are_instruction_sets() {
        for (arch, features, isa) in [
            ("aarch64", "fp asimd asimddp", IsaSet::DOTPROD),
            ("aarch64", "fp asimd asimddp i8mm", IsaSet::I8MM),
            ("armv7", "half thumb vfpv3 tls", IsaSet::SCALAR),
            ("armv7", "half thumb neon vfpv4", IsaSet::NEON32),
            ("x86_64", "sse2 avx2 avx_vnni", IsaSet::AVX_VNNI),
            ("x86_64", "avx2 avx512f avx512bw avx512vl avx512_vnni avx512vbmi", IsaSet::AVX512_VBMI),
        ] {
            assert_eq!(processor_isa(arch, features), isa, "{arch} {features}");
        }
    }

    #[test]
    fn this_machine_tells_something() {
        let facts = crate::device::reach("local").unwrap().facts(Some("/nowhere/at/all")).unwrap();
        assert_eq!(facts.arch, std::env::consts::ARCH);
        assert!(facts.disk_folder == "/" && facts.kernel.is_some(), "{facts:?}");
    }
}
