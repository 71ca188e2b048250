//! Whether the pictures to calibrate with are what they should be.

use std::collections::HashMap;

use super::{Settings, Warning};

/// Folders that a warning names.
const NAMED: usize = 3;

/// One calibration picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Looked {
    /// Its score in the unit of [`Score::stable`](crate::scores::Score::stable).
    pub score: f64,
    /// The best class.
    pub prediction: usize,
    /// q of the best class; NaN where "no" means nothing, which is never sure.
    pub q: f64,
    /// The folder that it lies in, where folders stand for classes.
    pub folder: Option<String>,
}

/// Looks for pictures that should not be there: of no class by what "no" says of them or by their folders, or repeated.
pub fn examine(pictures: &[Looked], class_names: &[String], settings: &Settings) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let n = pictures.len();
    let sure = pictures
        .iter()
        .filter(|picture| picture.q <= Warning::SURE)
        .count();
    let allowed = ((1.0 - settings.target_tpr) * n as f64 + 1e-9).floor() as usize;
    if sure > allowed {
        warnings.push(Warning::SureNo {
            count: sure,
            n,
            allowed,
        });
    }
    warnings.extend(folders(pictures, class_names));
    let repeated = repeated(pictures);
    if repeated > 0 {
        warnings.push(Warning::Repeated { count: repeated });
    }
    warnings
}

/// Folders are held against the classes where at least one is called like a class.
fn folders(pictures: &[Looked], class_names: &[String]) -> Vec<Warning> {
    let classes: HashMap<String, usize> = class_names
        .iter()
        .enumerate()
        .map(|(class, name)| (plain(name), class))
        .collect();
    let (mut right, mut n) = (0, 0);
    let mut strangers = Vec::new();
    let mut count = 0;
    for picture in pictures {
        let Some(folder) = &picture.folder else {
            continue;
        };
        match classes.get(&plain(folder)) {
            Some(&class) => {
                n += 1;
                right += usize::from(
                    plain(&class_names[picture.prediction]) == plain(&class_names[class]),
                );
            }
            None => {
                count += 1;
                if !strangers.contains(folder) {
                    strangers.push(folder.clone());
                }
            }
        }
    }
    let mut warnings = Vec::new();
    if n > 0 && count > 0 {
        if strangers.len() > NAMED {
            let more = strangers.len() - NAMED;
            strangers.truncate(NAMED);
            strangers.push(format!("and {more} more"));
        }
        warnings.push(Warning::Strangers {
            folders: strangers,
            count,
        });
    }
    if n > 0 && 2 * right < n {
        warnings.push(Warning::OtherClasses { right, n });
    }
    warnings
}

/// Pictures that agree in score and class to the last bit beyond the first of each; scores at the end of their scale agree
/// by themselves.
fn repeated(pictures: &[Looked]) -> usize {
    let mut seen: HashMap<(u64, usize), usize> = HashMap::new();
    for picture in pictures
        .iter()
        .filter(|picture| picture.score != 0.0 && picture.score.is_finite())
    {
        *seen
            .entry((picture.score.to_bits(), picture.prediction))
            .or_default() += 1;
    }
    seen.values().map(|count| count - 1).sum()
}

/// A name as folders and lists spell it: `School_Bus` is `school bus`.
fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace(['_', '-'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(score: f64, q: f64, folder: Option<&str>) -> Looked {
        Looked {
            score,
            prediction: 0,
            q,
            folder: folder.map(str::to_owned),
        }
    }

    fn look(pictures: &[Looked]) -> Vec<Warning> {
        examine(
            pictures,
            &["school bus".to_owned(), "cat".to_owned()],
            &Settings::default(),
        )
    }

    #[test]
    fn clean_pictures_are_left_in_peace() {
        let clean: Vec<Looked> = (1..=100)
            .map(|i| {
                picture(
                    -f64::from(i),
                    if i > 95 { 0.05 } else { 0.9 },
                    Some("School_Bus"),
                )
            })
            .collect();
        assert_eq!(look(&clean), []);
        assert_eq!(look(&[]), []);
    }

    #[test]
    fn sure_ones_beyond_the_target_are_told() {
        let mixed: Vec<Looked> = (1..=100)
            .map(|i| picture(-f64::from(i), if i > 94 { 0.05 } else { 0.9 }, None))
            .collect();
        assert_eq!(
            look(&mixed),
            [Warning::SureNo {
                count: 6,
                n: 100,
                allowed: 5
            }]
        );
    }

    #[test]
    fn folders_are_held_against_the_classes() {
        let pictures: Vec<Looked> = ["school-bus", "cat", "cat", "lamp", "car", "sofa", "tree"]
            .iter()
            .enumerate()
            .map(|(i, folder)| picture(-1.0 - i as f64, 0.9, Some(folder)))
            .collect();
        let told: Vec<String> = look(&pictures).iter().map(Warning::to_string).collect();
        assert!(
            told[0].contains("(lamp, car, sofa, and 1 more): 4"),
            "{told:?}"
        );
        assert!(told[1].contains("only 1 of 3"), "{told:?}");
        // Folders that are called otherwise altogether say nothing.
        assert_eq!(look(&pictures[3..]), []);
    }

    #[test]
    fn repeated_pictures_are_counted() {
        let twice = [
            picture(-1.0, 0.9, None),
            picture(-1.0, 0.9, None),
            picture(-2.0, 0.9, None),
        ];
        assert_eq!(look(&twice), [Warning::Repeated { count: 1 }]);
        assert_eq!(
            look(&[picture(0.0, 0.9, None), picture(0.0, 0.9, None)]),
            []
        );
    }
}
