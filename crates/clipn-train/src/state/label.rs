use std::fmt;
use std::str::FromStr;

/// Name of a checkpoint's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// `step-N`: after N optimizer steps.
    Step(u64),
    /// `epoch-N`: after N epochs.
    Epoch(u64),
}

impl Label {
    /// Returns N.
    pub fn number(self) -> u64 {
        match self {
            Label::Step(number) | Label::Epoch(number) => number,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Step(number) => write!(f, "step-{number}"),
            Label::Epoch(number) => write!(f, "epoch-{number}"),
        }
    }
}

impl FromStr for Label {
    type Err = ();

    /// Parses the name of a directory. Only names as written by [`Display`](fmt::Display) are
    /// labels.
    fn from_str(name: &str) -> Result<Self, ()> {
        let (kind, number) = name.split_once('-').ok_or(())?;
        let number = number.parse().map_err(|_| ())?;
        let label = match kind {
            "step" => Label::Step(number),
            "epoch" => Label::Epoch(number),
            _ => return Err(()),
        };
        if label.to_string() == name {
            Ok(label)
        } else {
            Err(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_only_canonical_names() {
        assert_eq!("step-12".parse(), Ok(Label::Step(12)));
        assert_eq!("epoch-0".parse(), Ok(Label::Epoch(0)));
        for name in [
            "step-012",
            "step-+1",
            "step-",
            "step",
            "steps-1",
            ".step-1.tmp",
            "epoch-1 ",
            "step--1",
        ] {
            assert_eq!(name.parse::<Label>(), Err(()), "{name}");
        }
    }
}
