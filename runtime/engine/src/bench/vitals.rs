//! How the device is: temperature, frequency, throttling, memory. All of it is read from where Linux tells it
//! (sysfs, proc(5)); what a device does not tell is not known.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::affinity;

/// How the device is at one moment. `None` is what it does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vitals {
    /// The highest temperature of its sensors, in degrees Celsius.
    pub temperature_c: Option<f64>,
    /// The highest frequency of the processors that this process may run on, in MHz.
    pub frequency_mhz: Option<u64>,
    /// Why the firmware of a Raspberry Pi slows it now: bit 0 under-voltage, 1 frequency capped, 2 throttled, 3
    /// soft limit of temperature (the low bits of `vcgencmd get_throttled`).
    pub firmware_throttled: Option<u32>,
    /// How often x86 processors have throttled since they were started, all cores together.
    pub throttle_count: Option<u64>,
}

impl Vitals {
    /// Those of now. Takes some reads of small files.
    pub fn read() -> Vitals {
        Vitals {
            temperature_c: temperature_c(Path::new("/sys/class/thermal")),
            frequency_mhz: affinity::allowed()
                .into_iter()
                .filter_map(|core| number(&format!("{CORES}{core}/cpufreq/scaling_cur_freq")))
                .max()
                .map(|khz| khz / 1000),
            firmware_throttled: text("/sys/devices/platform/soc/soc:firmware/get_throttled")
                .and_then(|flags| u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).ok())
                .map(|flags| flags & 15),
            throttle_count: affinity::allowed()
                .into_iter()
                .filter_map(|core| number(&format!("{CORES}{core}/thermal_throttle/core_throttle_count")))
                .reduce(|sum, count| sum + count),
        }
    }
}

const CORES: &str = "/sys/devices/system/cpu/cpu";

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn number(path: &str) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

/// Of all zones; sensors that are not there tell 0 or less, or something impossible.
fn temperature_c(zones: &Path) -> Option<f64> {
    let zones = fs::read_dir(zones).ok()?.flatten();
    let read = |zone: fs::DirEntry| fs::read_to_string(zone.path().join("temp")).ok()?.trim().parse().ok();
    let highest: i64 =
        zones.filter_map(read).filter(|millidegrees| (1..150_000).contains(millidegrees)).max()?;
    Some(highest as f64 / 1e3)
}

/// A line of this process's status in KiB (proc(5)): `VmHWM` is the most memory it ever held, `VmRSS` what it holds.
pub(super) fn memory_kb(key: &str) -> Option<u64> {
    let status = text("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Lets `VmHWM` begin anew from what is held now, where the kernel can (proc(5), clear_refs).
pub(super) fn forget_peak() {
    // Where it cannot, the peak is that of the whole process.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_sensor_counts_and_impossible_ones_do_not() {
        let folder = std::env::temp_dir().join(format!("zones-{}", std::process::id()));
        for (zone, text) in [("a", "47123\n"), ("b", "48686"), ("c", "-273000"), ("d", "200000"), ("e", "?")]
        {
            fs::create_dir_all(folder.join(zone)).unwrap();
            fs::write(folder.join(zone).join("temp"), text).unwrap();
        }
        assert_eq!(temperature_c(&folder), Some(48.686));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(temperature_c(&folder), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_told() {
        assert!(memory_kb("VmHWM").unwrap() >= memory_kb("VmRSS").unwrap() / 2);
        assert_eq!(memory_kb("Vm"), None);
    }
}
