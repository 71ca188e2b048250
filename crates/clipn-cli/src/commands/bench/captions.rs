//! Captions for training steps, from a table or generated.

use std::path::Path;

use clipn::dataset::{CaptionTable, CaptionTableFormat};
use clipn::random::{RandomSource, Xoshiro256};
use clipn::training::TrainingError;

use crate::common::error::CliError;

/// The captions of a table, which must have at least one, or `count` generated ones.
pub(crate) fn captions(table: Option<&Path>, count: usize) -> Result<Vec<String>, CliError> {
    let Some(path) = table else {
        return Ok(generated(count));
    };
    let table =
        CaptionTable::read(path, &CaptionTableFormat::default()).map_err(TrainingError::from)?;
    // Malformed rows are skipped here; a training run reports them.
    let caption = |row: usize| Some(table.row(row).ok()?.1.to_owned());
    let captions: Vec<String> = (0..table.len()).filter_map(caption).collect();
    if captions.is_empty() {
        return Err(CliError::usage(format!(
            "no captions in {}",
            path.display()
        )));
    }
    Ok(captions)
}

const SUBJECTS: [&str; 12] = [
    "a woman",
    "two children",
    "an old man",
    "a brown dog",
    "a group of people",
    "a young couple",
    "the team",
    "a vintage car",
    "a small bird",
    "a football player",
    "an actor",
    "a wooden boat",
];
const DETAILS: [&str; 7] = [
    "in a red jacket",
    "with a large umbrella",
    "wearing sunglasses and a straw hat",
    "covered in snow",
    "holding a cup of coffee",
    "with long dark hair",
    "next to a bicycle",
];
const ACTIONS: [&str; 10] = [
    "standing",
    "walking slowly",
    "seen from above",
    "waiting",
    "resting",
    "photographed at night",
    "playing",
    "surrounded by flowers",
    "running",
    "looking at the camera",
];
const PLACES: [&str; 10] = [
    "on the beach",
    "in front of a brick wall",
    "near the river",
    "at the end of a long street",
    "in the mountains",
    "under a cloudy sky",
    "beside the window of a busy restaurant",
    "on a green field",
    "at sunset",
    "in the kitchen",
];

/// Captions as long as those of photos on the web: 5 to 21 words, 11 on average. Half of them have
/// a detail.
fn generated(count: usize) -> Vec<String> {
    let mut random = Xoshiro256::new(5);
    let mut below = |bound: usize| random.below(bound as u64) as usize;
    let mut caption = || {
        let mut of = |words: &[&'static str]| words[below(words.len())];
        let mut parts = vec![of(&SUBJECTS), of(&DETAILS), of(&ACTIONS), of(&PLACES)];
        if below(2) == 0 {
            parts.remove(1);
        }
        parts.join(" ")
    };
    (0..count).map(|_| caption()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_captions_have_realistic_lengths() {
        let lengths: Vec<usize> = generated(2000)
            .iter()
            .map(|c| c.split(' ').count())
            .collect();
        let mean = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
        let (shortest, longest) = (lengths.iter().min(), lengths.iter().max());
        assert!((10.5..11.5).contains(&mean), "{mean}");
        assert!(
            shortest >= Some(&5) && longest <= Some(&21),
            "{shortest:?} {longest:?}"
        );
    }
}
