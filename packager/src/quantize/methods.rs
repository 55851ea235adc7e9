//! Which methods choose the numbers of a package.

/// A method beyond scales from ranges and rounding to nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Channels of a tensor are scaled to each other ([`super::equalize`]).
    Equalization,
    /// Weights are rounded so that their errors cancel on the calibration set.
    Rounding,
    /// Biases make up for the mean error of each output channel.
    BiasCorrection,
    /// Weights make up for the errors of the layers before.
    Compensation,
}

/// Every method and its name.
const NAMES: [(Method, &str); 4] = [
    (Method::Equalization, "equalization"),
    (Method::Rounding, "rounding"),
    (Method::BiasCorrection, "bias-correction"),
    (Method::Compensation, "compensation"),
];

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = NAMES.iter().find(|(method, _)| method == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl std::str::FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(method, _)| *method);
        found.ok_or_else(|| format!("`{text}` is none of {}", NAMES.map(|(_, name)| name).join(", ")))
    }
}

/// The methods that are used: all, unless some are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    /// Those that are not used.
    pub without: Vec<Method>,
}

impl Methods {
    /// Whether a method is used.
    pub fn has(&self, method: Method) -> bool {
        !self.without.contains(&method)
    }

    /// The names of those that are used.
    pub fn names(&self) -> Vec<String> {
        NAMES.iter().filter(|(method, _)| self.has(*method)).map(|(_, name)| name.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_again() {
        for (method, name) in NAMES {
            assert_eq!(name.parse(), Ok(method));
            assert_eq!(method.to_string(), name);
        }
        assert!("magic".parse::<Method>().unwrap_err().contains("bias-correction"));
    }
}
