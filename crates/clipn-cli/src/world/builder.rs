use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use rayon::prelude::*;

use super::DemoError;
use super::caption;
use super::far_set::Far;
use super::files::{create_empty_directory, failed, make_folder, png, write_file, write_shard};
use super::random::Random;
use super::shape::{Role, SHAPES, Shape};
use super::shape_image::ShapeImage;
use clipn::progress::Progress;

/// Random stream of the training set.
const TRAIN: u64 = 0;
/// Random stream of the validation set.
const VALIDATION: u64 = 1;
/// Random stream of the near out-of-distribution set.
const NEAR: u64 = 2;
/// Random stream of the first far out-of-distribution set; the others follow.
const FAR: u64 = 3;

/// Probability that a training image shows no shape.
const NO_SHAPE_PROBABILITY: f32 = 0.2;

/// Contents of training images without a shape, with the word for them in captions.
const NO_SHAPE_KINDS: [(Far, &str); 2] = [(Far::Textures, "pattern"), (Far::Scenes, "landscape")];

/// Synthetic world of colored and patterned shapes in front of backgrounds.
///
/// Ten shapes are the in-distribution classes. The training data also has six other shapes,
/// patterns and empty landscapes, because a model has usually seen more than the classes of one
/// task. Six more shapes are not in the training data: the near out-of-distribution set. The far
/// sets have no shapes: patterns and landscapes, and noise and glyphs, which are not in the
/// training data.
///
/// The same seed and settings give the same bytes. An image does not depend on the number of
/// images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct World {
    /// Seed of all random choices.
    pub seed: u64,
    /// Image side in pixels, 16 to 512; 32 by default.
    pub size: usize,
    /// Samples per shard, 1 to 1,000,000; 1000 by default.
    pub shard_size: usize,
    /// Images per class in the validation and near sets, 1 to 100,000; 50 by default.
    pub per_class: usize,
    /// Images per far set, 1 to 100,000; 200 by default.
    pub per_far_set: usize,
}

/// Training sample of a [`World`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorldSample {
    /// RGB pixels, `[side, side, 3]`.
    pub pixels: Vec<u8>,
    /// Image side in pixels.
    pub side: usize,
    /// Caption of the image.
    pub caption: String,
    /// Label of the in-distribution class, or a number after these labels for other content.
    pub class: usize,
}

/// Files of a [`World`] on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorldFiles {
    /// Directory of the world, which is the data root of the benchmark.
    pub root: PathBuf,
    /// Training shards in order; `sizes.json` is in the same directory.
    pub shards: Vec<PathBuf>,
    /// Brace pattern of the shards relative to `root`, such as `train/{000000..000009}.tar`.
    pub shard_pattern: String,
    /// Number of training samples in all shards.
    pub train_samples: usize,
    /// File with the names of the in-distribution classes, one per line.
    pub class_names: PathBuf,
    /// Benchmark definition (TOML).
    pub benchmark: PathBuf,
}

/// Image of an image folder, not drawn yet.
struct FolderImage {
    path: PathBuf,
    /// Random stream.
    set: u64,
    /// Index in the random stream.
    index: usize,
    subject: Subject,
}

/// Content of an image.
enum Subject {
    Shape(&'static Shape),
    Far(Far),
}

impl Default for World {
    /// Returns a world with 32 x 32 images, 50 images per class and 200 per far set.
    fn default() -> Self {
        Self {
            seed: 0,
            size: 32,
            shard_size: 1000,
            per_class: 50,
            per_far_set: 200,
        }
    }
}

impl World {
    /// Returns the names of the in-distribution classes in label order.
    pub(crate) fn class_names() -> Vec<&'static str> {
        Shape::with_role(Role::Id)
            .map(|(_, shape)| shape.name)
            .collect()
    }

    /// Draws the training sample at `index`; every index is valid.
    pub(crate) fn train_sample(&self, index: usize) -> WorldSample {
        let mut random = Random::for_image(self.seed, TRAIN, index as u64);
        let mut wording = Random::for_image(random.next(), TRAIN, index as u64);
        let shapes = SHAPES
            .iter()
            .filter(|shape| shape.role != Role::Near)
            .count();
        let (class, pixels, caption) = if random.chance(NO_SHAPE_PROBABILITY) {
            let kind = random.below(NO_SHAPE_KINDS.len());
            let (far, name) = NO_SHAPE_KINDS[kind];
            (
                shapes + kind,
                far.draw(self.size, random),
                caption::kind_caption(name, &mut wording),
            )
        } else {
            let class = random.below(shapes);
            let image = ShapeImage::sample(&SHAPES[class], random);
            (
                class,
                image.draw(self.size),
                caption::of_shape(&image, &mut wording),
            )
        };
        WorldSample {
            pixels,
            side: self.size,
            caption,
            class,
        }
    }

    /// Writes the world to `folder`, which must be new or empty.
    ///
    /// Writes `train/*.tar` with `train/sizes.json`, the image folders `val/CLASS`, `near/CLASS`
    /// and `far-*`, `classes.txt` and `benchmark.toml`.
    ///
    /// # Errors
    /// - [`DemoError::Setting`] if a setting is out of range.
    /// - [`DemoError::NotEmpty`] if `folder` is not empty.
    /// - [`DemoError::Write`] if a file or directory cannot be written.
    /// - [`DemoError::Cancelled`] if `progress` reports a cancellation.
    pub(crate) fn write(
        &self,
        folder: &Path,
        train_samples: usize,
        progress: &dyn Progress,
    ) -> Result<WorldFiles, DemoError> {
        self.check(train_samples)?;
        create_empty_directory(folder)?;
        let images = self.folder_images(folder);
        progress.begin("drawing images", (train_samples + images.len()) as u64);
        let shards = self.write_shards(folder, train_samples, progress)?;
        self.write_folders(folder, &images, progress)?;
        let class_names = folder.join("classes.txt");
        write_file(
            &class_names,
            (Self::class_names().join("\n") + "\n").as_bytes(),
        )?;
        let benchmark = folder.join("benchmark.toml");
        write_file(&benchmark, benchmark_definition().as_bytes())?;
        progress.end();
        let shard_pattern = match shards.len() {
            1 => "train/000000.tar".to_owned(),
            count => format!("train/{{000000..{:06}}}.tar", count - 1),
        };
        Ok(WorldFiles {
            root: folder.to_owned(),
            shards,
            shard_pattern,
            train_samples,
            class_names,
            benchmark,
        })
    }

    /// Validates the settings.
    fn check(&self, train_samples: usize) -> Result<(), DemoError> {
        for (setting, given, min, max) in [
            ("image size", self.size, 16, 512),
            ("number of training samples", train_samples, 1, 1_000_000),
            ("number of samples per shard", self.shard_size, 1, 1_000_000),
            ("number of images per class", self.per_class, 1, 100_000),
            ("number of images per far set", self.per_far_set, 1, 100_000),
        ] {
            if !(min..=max).contains(&given) {
                return Err(DemoError::Setting {
                    setting,
                    given,
                    least: min,
                    most: max,
                });
            }
        }
        Ok(())
    }

    /// Writes the training shards in parallel, and `sizes.json`; returns the paths of the shards.
    fn write_shards(
        &self,
        folder: &Path,
        train_samples: usize,
        progress: &dyn Progress,
    ) -> Result<Vec<PathBuf>, DemoError> {
        let train = folder.join("train");
        make_folder(&train)?;
        let starts: Vec<usize> = (0..train_samples).step_by(self.shard_size).collect();
        let ends = |start: usize| (start + self.shard_size).min(train_samples);
        let shards: Vec<PathBuf> = (0..starts.len())
            .map(|i| train.join(format!("{i:06}.tar")))
            .collect();
        starts
            .par_iter()
            .zip(&shards)
            .try_for_each(|(&start, path)| {
                let draw = |index| {
                    progress.advance(1);
                    (index, self.train_sample(index))
                };
                let indices = (start..ends(start)).take_while(|_| !progress.is_cancelled());
                write_shard(path, indices.map(draw))?;
                if progress.is_cancelled() {
                    Err(cancelled(folder))
                } else {
                    Ok(())
                }
            })?;
        let sizes: IndexMap<String, usize> = starts
            .iter()
            .enumerate()
            .map(|(i, &s)| (format!("{i:06}.tar"), ends(s) - s))
            .collect();
        let path = train.join("sizes.json");
        let json =
            serde_json::to_vec_pretty(&sizes).map_err(|error| failed(&path)(error.into()))?;
        write_file(&path, &json)?;
        Ok(shards)
    }

    /// Lists the images of all image folders.
    fn folder_images(&self, folder: &Path) -> Vec<FolderImage> {
        let mut images = Vec::new();
        for (role, set, name) in [(Role::Id, VALIDATION, "val"), (Role::Near, NEAR, "near")] {
            for (number, shape) in Shape::with_role(role) {
                let class = folder.join(name).join(shape.name);
                images.extend((0..self.per_class).map(|i| FolderImage {
                    path: class.join(format!("{i:04}.png")),
                    set,
                    index: i * SHAPES.len() + number,
                    subject: Subject::Shape(shape),
                }));
            }
        }
        for (number, far) in Far::ALL.into_iter().enumerate() {
            let set_folder = folder.join(format!("far-{}", far.name()));
            images.extend((0..self.per_far_set).map(|i| FolderImage {
                path: set_folder.join(format!("{i:04}.png")),
                set: FAR + number as u64,
                index: i,
                subject: Subject::Far(far),
            }));
        }
        images
    }

    /// Draws and writes the images of all image folders in parallel.
    fn write_folders(
        &self,
        root: &Path,
        images: &[FolderImage],
        progress: &dyn Progress,
    ) -> Result<(), DemoError> {
        let first_images = images
            .iter()
            .filter(|image| image.path.ends_with("0000.png"));
        first_images
            .filter_map(|image| image.path.parent())
            .try_for_each(make_folder)?;
        images.par_iter().try_for_each(|image| {
            if progress.is_cancelled() {
                return Err(cancelled(root));
            }
            let random = Random::for_image(self.seed, image.set, image.index as u64);
            let pixels = match image.subject {
                Subject::Shape(shape) => ShapeImage::sample(shape, random).draw(self.size),
                Subject::Far(far) => far.draw(self.size, random),
            };
            let bytes = png(&pixels, self.size).map_err(failed(&image.path))?;
            write_file(&image.path, &bytes)?;
            progress.advance(1);
            Ok(())
        })
    }
}

fn cancelled(folder: &Path) -> DemoError {
    DemoError::Cancelled {
        path: folder.to_owned(),
    }
}

/// Returns the benchmark definition in the format of `docs/benchmarks.md`, with paths relative to
/// the directory of the world.
fn benchmark_definition() -> String {
    let mut text = "name = \"demo\"\n\
        description = \"Shapes seen in training against unseen shapes and other images\"\n\n\
        [id]\nname = \"shapes\"\nfolder = \"val\"\n\n\
        [[ood]]\nname = \"other-shapes\"\nkind = \"near\"\nfolder = \"near\"\n"
        .to_owned();
    for far in Far::ALL {
        let name = far.name();
        text += &format!("\n[[ood]]\nname = \"{name}\"\nkind = \"far\"\nfolder = \"far-{name}\"\n");
    }
    text
}
