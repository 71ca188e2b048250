//! Measures what the size of a group of negatives does to the threshold 0.5, with the built-in model on
//! Tiny-ImageNet and other sets:
//!
//! ```text
//! cargo run --release -p clipn-detect --example negatives_ratio -- DATA
//! ```
//!
//! Known images are those of K classes, unknown ones are of 50 other classes of Tiny-ImageNet (near)
//! or of other data sets (far). Negatives are the words of the model's vocabulary that are in no class
//! name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clipn_base::random::{RandomSource, Xoshiro256};
use clipn_detect::classifier::ClassifierBuilder;
use clipn_detect::negatives::choice::Grouping;
use clipn_detect::negatives::{NegativeSource, Negatives, NegativesBuilder};
use clipn_engine::{TextEncoder, image_tower};
use clipn_image::Preprocessing;
use clipn_model::{ImageBatch, ImageTower, ModelWeights, PretrainedWeights, TextSide, TextTower};
use clipn_text::prompts::Template;

type Error = Box<dyn std::error::Error>;

const IMAGES_PER_FOLDER: usize = 10;
const DRAWS: u64 = 5;
const CLASS_COUNTS: [usize; 4] = [5, 11, 50, 146];
const RATIOS: [(&str, Option<f64>); 7] = [
    ("0.1", Some(0.1)),
    ("0.25", Some(0.25)),
    ("0.5", Some(0.5)),
    ("1", Some(1.0)),
    ("1.5", Some(1.5)),
    ("2", Some(2.0)),
    ("default", None),
];

/// Features of the images of a class or a data set, `[N, D]`.
type Features = Vec<f32>;

fn main() -> Result<(), Error> {
    let data = PathBuf::from(
        std::env::args()
            .nth(1)
            .ok_or("usage: negatives_ratio DATA")?,
    );
    let mini = PretrainedWeights::mini()?;
    let weights = mini.weights(None)?;
    let measurement = Measurement::new(&mini, &weights, &data)?;
    println!(
        "| classes | ratio | groups | negatives | known kept | near rejected | far rejected | mean |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for count in CLASS_COUNTS {
        for (label, ratio) in RATIOS {
            let grouping = |seed| Grouping::Proportional { ratio, seed };
            measurement.vocabulary_row(count, label, grouping)?;
        }
        measurement.vocabulary_row(count, "one group", |_| Grouping::Single)?;
    }
    println!("\nA list of names, unknown images of these classes:\n");
    println!("| classes | names | grouping | known kept | unknown rejected |");
    println!("|---|---|---|---|---|");
    for count in CLASS_COUNTS {
        for names in [5, 25] {
            let default = |seed| Grouping::Proportional { ratio: None, seed };
            measurement.list_row(count, names, "default", default)?;
            measurement.list_row(count, names, "one group", |_| Grouping::Single)?;
        }
    }
    Ok(())
}

struct Measurement {
    tower: TextEncoder,
    template: Template,
    scale: f64,
    metadata: clipn_model::WeightsMetadata,
    weights: ModelWeights,
    vocabulary: Vec<String>,
    known: Vec<(String, Features)>,
    near: Vec<(String, Features)>,
    far: Features,
}

impl Measurement {
    fn new(mini: &PretrainedWeights, weights: &ModelWeights, data: &Path) -> Result<Self, Error> {
        let image = image_tower(weights);
        let preprocessing = mini
            .preprocessing()?
            .unwrap_or_else(|| Preprocessing::clip(image.image_size()));
        let encode = |folder: &Path, count| encode(folder, count, image.as_ref(), &preprocessing);
        let (mut known, mut near) = (Vec::new(), Vec::new());
        let tiny = data.join("tiny-imagenet");
        for line in std::fs::read_to_string(tiny.join("classes.tsv"))?
            .lines()
            .skip(1)
        {
            let fields: Vec<&str> = line.split('\t').collect();
            let [wnid, name, _, role] = fields[..] else {
                return Err(format!("unexpected line in classes.tsv: {line}").into());
            };
            let class = match role {
                "id" => &mut known,
                "near-ood" => &mut near,
                _ => continue,
            };
            let features = encode(&tiny.join("val").join(wnid), IMAGES_PER_FOLDER)?;
            class.push((name.to_owned(), features));
        }
        let mut far = Vec::new();
        for folder in ["dtd10", "scene15", "mnist", "fashion/test"] {
            far.extend(encode(&data.join(folder), 150)?);
        }
        let vocabulary = weights.training_vocabulary().ok_or("no vocabulary")?;
        let is_word = |word: &&str| word.len() > 2 && word.chars().all(char::is_alphabetic);
        let template = Template::parse("a photo of a {}.")?;
        Ok(Self {
            tower: TextEncoder::from_weights(weights, TextSide::Yes),
            scale: weights.logit_scale(),
            metadata: mini.metadata(),
            weights: weights.clone(),
            vocabulary: vocabulary
                .to_text()
                .split(' ')
                .filter(is_word)
                .filter(|word| !template.as_str().contains(word))
                .map(str::to_owned)
                .collect(),
            template,
            known,
            near,
            far,
        })
    }

    /// Draws K classes; returns their rows and their images.
    fn classes(&self, count: usize, seed: u64) -> Result<(Vec<String>, Vec<f32>, Features), Error> {
        let mut order: Vec<usize> = (0..self.known.len()).collect();
        Xoshiro256::new(seed).shuffle(&mut order);
        let drawn = order
            .into_iter()
            .take(count)
            .map(|class| &self.known[class]);
        let names: Vec<String> = drawn.clone().map(|(name, _)| name.clone()).collect();
        let images = drawn.flat_map(|(_, images)| images).copied().collect();
        let classifier = ClassifierBuilder::new(names.clone())
            .with_metadata(&self.metadata)
            .build(&self.weights)?;
        Ok((names, classifier.yes_weights().to_vec(), images))
    }

    fn vocabulary_row(
        &self,
        count: usize,
        label: &str,
        grouping: impl Fn(u64) -> Grouping,
    ) -> Result<(), Error> {
        let near: Features = self.near.iter().flat_map(|(_, f)| f).copied().collect();
        let (mut sums, mut shape) = ([0.0; 3], String::new());
        for seed in 0..DRAWS {
            let (names, classes, images) = self.classes(count, seed)?;
            let class_words: BTreeSet<String> = names
                .iter()
                .flat_map(|name| name.split([' ', '-']))
                .map(str::to_lowercase)
                .collect();
            let words = self
                .vocabulary
                .iter()
                .filter(|word| !class_words.contains(*word));
            let built = NegativesBuilder::new(&NegativeSource::WordNet)
                .with_nouns(words.cloned().collect(), vec![self.template.clone()])
                .with_grouping(grouping(seed))
                .build(&classes, &self.tower)?;
            let negatives = built.negatives;
            shape = format!("{} | {}", negatives.groups(), negatives.len());
            let kept = |images: &[f32]| self.kept(images, &classes, &negatives);
            for (sum, value) in
                sums.iter_mut()
                    .zip([kept(&images)?, 1.0 - kept(&near)?, 1.0 - kept(&self.far)?])
            {
                *sum += value / DRAWS as f64;
            }
        }
        let [kept, near, far] = sums.map(|value| 100.0 * value);
        let mean = (kept + (near + far) / 2.0) / 2.0;
        println!(
            "| {count} | {label} | {shape} | {kept:.0} % | {near:.0} % | {far:.0} % | {mean:.0} % |"
        );
        Ok(())
    }

    fn list_row(
        &self,
        count: usize,
        listed: usize,
        label: &str,
        grouping: impl Fn(u64) -> Grouping,
    ) -> Result<(), Error> {
        let (mut kept, mut rejected) = (0.0, 0.0);
        for seed in 0..DRAWS {
            let (_, classes, images) = self.classes(count, seed)?;
            let step = self.near.len() / listed;
            let listed = self.near.iter().skip(seed as usize % step).step_by(step);
            let names = listed.clone().map(|(name, _)| name.clone()).collect();
            let unknown: Features = listed.flat_map(|(_, f)| f).copied().collect();
            let built = NegativesBuilder::new(&NegativeSource::List(names))
                .with_list_templates(vec![self.template.clone()])
                .with_grouping(grouping(seed))
                .build(&classes, &self.tower)?;
            kept += self.kept(&images, &classes, &built.negatives)? / DRAWS as f64;
            rejected += (1.0 - self.kept(&unknown, &classes, &built.negatives)?) / DRAWS as f64;
        }
        let (kept, rejected) = (100.0 * kept, 100.0 * rejected);
        println!("| {count} | {listed} | {label} | {kept:.0} % | {rejected:.0} % |");
        Ok(())
    }

    /// Fraction of images whose score is at least 0.5: the mean over groups of the probability of the
    /// classes among the classes and the negatives of the group.
    fn kept(&self, images: &[f32], classes: &[f32], negatives: &Negatives) -> Result<f64, Error> {
        let dim = self.tower.embed_dim();
        let count = images.len() / dim;
        let weights = |rows: &[f32]| -> Result<Vec<f64>, Error> {
            let packed = clipn_engine::PackedRows::new(rows, dim)?;
            let mut logits = vec![0.0; count * packed.len()];
            packed.products(images, self.scale, &mut logits)?;
            // The scale of this model is small enough for exponentials in f64.
            Ok(logits.iter().map(|&logit| f64::from(logit).exp()).collect())
        };
        let (class_weights, negative_weights) = (weights(classes)?, weights(negatives.rows())?);
        let rows = class_weights.chunks_exact(classes.len() / dim);
        let kept = rows
            .zip(negative_weights.chunks_exact(negatives.len()))
            .filter(|(classes, words)| {
                let known: f64 = classes.iter().sum();
                let mut start = 0;
                let mut score = 0.0;
                for &end in negatives.group_ends() {
                    let group: f64 = words[start..end].iter().sum();
                    score += known / (known + group) / negatives.groups() as f64;
                    start = end;
                }
                score >= 0.5
            });
        Ok(kept.count() as f64 / count as f64)
    }
}

/// Encodes images below a folder, spread evenly over their sorted paths, at most `count`.
fn encode(
    folder: &Path,
    count: usize,
    tower: &dyn ImageTower<f32>,
    preprocessing: &Preprocessing,
) -> Result<Features, Error> {
    let mut paths = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true if !path.ends_with("cobwebbed") => folders.push(path),
                true => {}
                false => paths.push(path),
            }
        }
    }
    paths.sort();
    let chosen =
        (0..count.min(paths.len())).map(|i| &paths[i * paths.len() / count.min(paths.len())]);
    let length = preprocessing.tensor_len();
    let mut pixels = vec![0.0; chosen.len() * length];
    for (path, pixels) in chosen.zip(pixels.chunks_exact_mut(length)) {
        preprocessing.preprocess_file(path, pixels)?;
    }
    let size = preprocessing.size;
    let mut features = tower.encode(ImageBatch::new(&pixels, size, size)?)?;
    features.normalize();
    Ok(features.values().to_vec())
}
