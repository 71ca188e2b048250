//! Damage of shards that is known before the first sample is read, and what is lost with it.

use std::fmt;

use clipn_base::count::count;

/// Maximum number of damaged shards that a message names.
const MAX_NAMED: usize = 10;

/// Why a shard cannot be read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardDamage {
    /// What is wrong, as a predicate: `is a Git LFS pointer`.
    pub problem: String,
    /// Number of samples before the damage.
    pub readable: u64,
}

/// The damaged shards of a set, and what is lost with them. [`Display`](fmt::Display) writes one
/// sentence that names them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamageReport {
    /// Number of shards in the set.
    pub shards: usize,
    /// Names of the damaged shards, and what is wrong with each.
    pub damaged: Vec<(String, String)>,
    /// Number of samples that are lost; `None` if neither a size nor a readable shard shows how many
    /// a shard has.
    pub lost: Option<u64>,
    /// Number of samples that the set should have, lost ones included.
    pub total: u64,
    /// Whether `lost` is estimated from the mean size of the readable shards.
    pub is_estimated: bool,
}

impl DamageReport {
    /// Returns the fraction of the samples that is lost, from 0 to 1.
    pub fn lost_fraction(&self) -> f64 {
        match self.lost {
            Some(lost) => lost as f64 / self.total.max(1) as f64,
            None => 1.0,
        }
    }
}

impl fmt::Display for DamageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<String> = self
            .damaged
            .iter()
            .take(MAX_NAMED)
            .map(|(name, problem)| format!("{name} {problem}"))
            .collect();
        let named = named.join(", ");
        match (self.shards, self.damaged.len()) {
            (1, _) => f.write_str(&named)?,
            (shards, damaged) => {
                write!(
                    f,
                    "{damaged} of {} cannot be read to the end: {named}",
                    count(shards, "shard")
                )?;
            }
        }
        if let Some(more @ 1..) = self.damaged.len().checked_sub(MAX_NAMED) {
            write!(f, " and {more} more")?;
        }
        match self.lost {
            Some(lost) => write!(
                f,
                "; a loss of {}{lost} of {}",
                if self.is_estimated { "about " } else { "" },
                count(self.total, "sample")
            ),
            None => f.write_str("; expected tar archives, plain or compressed with gzip or zstd"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_most_ten_shards() {
        let damaged = |count: usize| DamageReport {
            shards: 20,
            damaged: (0..count)
                .map(|index| (format!("{index}.tar"), "is JSON".to_string()))
                .collect(),
            lost: Some(30),
            total: 200,
            is_estimated: true,
        };
        assert_eq!(
            damaged(2).to_string(),
            "2 of 20 shards cannot be read to the end: 0.tar is JSON, 1.tar is JSON; \
             a loss of about 30 of 200 samples"
        );
        assert!(
            damaged(12)
                .to_string()
                .contains("9.tar is JSON and 2 more;")
        );
        assert!(!damaged(10).to_string().contains("more"));
        let one = DamageReport {
            shards: 1,
            lost: None,
            ..damaged(1)
        };
        assert_eq!(
            one.to_string(),
            "0.tar is JSON; expected tar archives, plain or compressed with gzip or zstd"
        );
    }
}
