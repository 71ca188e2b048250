use std::fmt;

/// A setting with another value than the checkpoint was trained with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingDifference {
    /// Key in `settings.toml`, such as `optimizer.beta1`.
    pub setting: String,
    /// Value of the checkpoint.
    pub before: String,
    /// Value of the run.
    pub now: String,
}

impl fmt::Display for SettingDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, now {}", self.setting, self.before, self.now)
    }
}
