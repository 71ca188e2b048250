use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use rayon::prelude::*;

use super::DemoError;
use super::caption;
use super::far::Far;
use super::files::{failed, make_empty_folder, make_folder, png, write_file, write_shard};
use super::picture::Picture;
use super::random::Random;
use super::shape::{Role, SHAPES, Shape};
use crate::progress::Progress;

/// Sets of pictures, for the random numbers of each.
const TRAIN: u64 = 0;
const VALIDATION: u64 = 1;
const NEAR: u64 = 2;
const FAR: u64 = 3;

/// The share of training pictures that show no shape.
const WITHOUT_SHAPE: f32 = 0.2;

/// What they show, and the word for it in captions.
const SEEN: [(Far, &str); 2] = [(Far::Textures, "pattern"), (Far::Scenes, "landscape")];

/// A world of coloured and patterned shapes before backgrounds.
///
/// Ten shapes are the in-distribution classes. Training pictures and captions also have six other shapes, patterns and
/// empty landscapes, as a model has seen more of the world than the classes of one task. Six more shapes are never
/// trained on: the near out-of-distribution set. The far sets are pictures of another kind: patterns and landscapes,
/// and noise and written signs, which training never shows.
/// The same seed and settings give the same bytes; a picture does not depend on how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct World {
    /// What all random choices come from.
    pub seed: u64,
    /// Pixels of a picture's side, from 16 to 512.
    pub size: usize,
    /// Samples a shard.
    pub shard_size: usize,
    /// Pictures of each class in the validation and the near set.
    pub per_class: usize,
    /// Pictures in each far set.
    pub per_far_set: usize,
}

/// A training sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldSample {
    /// The pixels, `[side, side, 3]`.
    pub pixels: Vec<u8>,
    /// Pixels of a side.
    pub side: usize,
    /// A sentence about the picture.
    pub caption: String,
    /// What it shows: an in-distribution class by its label, or something else by a number after them.
    pub class: usize,
}

/// Where a written world's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldFiles {
    /// The folder of it all, which is the benchmark's data root.
    pub root: PathBuf,
    /// The training shards in order; `sizes.json` lies beside them.
    pub shards: Vec<PathBuf>,
    /// The shards as one pattern, such as `train/{000000..000009}.tar` below the root.
    pub shard_pattern: String,
    /// Training samples in all shards.
    pub train_samples: usize,
    /// The names of the in-distribution classes, one a line.
    pub class_names: PathBuf,
    /// The benchmark's definition.
    pub benchmark: PathBuf,
}

/// A picture of an image folder, yet to be drawn.
struct FolderPicture {
    path: PathBuf,
    set: u64,
    index: usize,
    subject: Subject,
}

enum Subject {
    Shape(&'static Shape),
    Far(Far),
}

impl Default for World {
    /// Pictures of 32 x 32, 50 a class and 200 a far set.
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
    /// The names of the in-distribution classes, in the order of their labels.
    pub fn class_names() -> Vec<&'static str> {
        Shape::with_role(Role::Id)
            .map(|(_, shape)| shape.name)
            .collect()
    }

    /// The training sample of a number; every number has one.
    pub fn train_sample(&self, index: usize) -> WorldSample {
        let mut random = Random::of_picture(self.seed, TRAIN, index as u64);
        let mut wording = Random::of_picture(random.next(), TRAIN, index as u64);
        let shapes = SHAPES
            .iter()
            .filter(|shape| shape.role != Role::Near)
            .count();
        let (class, pixels, caption) = if random.chance(WITHOUT_SHAPE) {
            let kind = random.below(SEEN.len());
            let (far, name) = SEEN[kind];
            (
                shapes + kind,
                far.draw(self.size, random),
                caption::of_kind(name, &mut wording),
            )
        } else {
            let class = random.below(shapes);
            let picture = Picture::draw_lots(&SHAPES[class], random);
            (
                class,
                picture.draw(self.size),
                caption::of_shape(&picture, &mut wording),
            )
        };
        WorldSample {
            pixels,
            side: self.size,
            caption,
            class,
        }
    }

    /// Writes the world into `folder`, which has to be new or empty: `train/*.tar` with `sizes.json`, the image folders
    /// `val/CLASS`, `near/CLASS` and `far-*`, `classes.txt` and `benchmark.toml`.
    ///
    /// # Errors
    /// [`DemoError::Setting`] for a setting out of its range, [`DemoError::NotEmpty`], [`DemoError::Write`], and
    /// [`DemoError::Cancelled`] when `progress` says so.
    pub fn write(
        &self,
        folder: &Path,
        train_samples: usize,
        progress: &dyn Progress,
    ) -> Result<WorldFiles, DemoError> {
        self.check(train_samples)?;
        make_empty_folder(folder)?;
        let pictures = self.folder_pictures(folder);
        progress.begin("drawing pictures", (train_samples + pictures.len()) as u64);
        let shards = self.write_shards(folder, train_samples, progress)?;
        self.write_folders(folder, &pictures, progress)?;
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

    fn check(&self, train_samples: usize) -> Result<(), DemoError> {
        for (setting, given, least, most) in [
            ("picture size", self.size, 16, 512),
            ("number of training samples", train_samples, 1, 1_000_000),
            ("number of samples a shard", self.shard_size, 1, 1_000_000),
            ("number of pictures a class", self.per_class, 1, 100_000),
            ("number of pictures a far set", self.per_far_set, 1, 100_000),
        ] {
            if !(least..=most).contains(&given) {
                return Err(DemoError::Setting {
                    setting,
                    given,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }

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
                let wanted = (start..ends(start)).take_while(|_| !progress.is_cancelled());
                write_shard(path, wanted.map(draw))?;
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

    fn folder_pictures(&self, folder: &Path) -> Vec<FolderPicture> {
        let mut pictures = Vec::new();
        for (role, set, name) in [(Role::Id, VALIDATION, "val"), (Role::Near, NEAR, "near")] {
            for (number, shape) in Shape::with_role(role) {
                let class = folder.join(name).join(shape.name);
                pictures.extend((0..self.per_class).map(|i| FolderPicture {
                    path: class.join(format!("{i:04}.png")),
                    set,
                    index: i * SHAPES.len() + number,
                    subject: Subject::Shape(shape),
                }));
            }
        }
        for (number, far) in Far::ALL.into_iter().enumerate() {
            let set_folder = folder.join(format!("far-{}", far.name()));
            pictures.extend((0..self.per_far_set).map(|i| FolderPicture {
                path: set_folder.join(format!("{i:04}.png")),
                set: FAR + number as u64,
                index: i,
                subject: Subject::Far(far),
            }));
        }
        pictures
    }

    fn write_folders(
        &self,
        root: &Path,
        pictures: &[FolderPicture],
        progress: &dyn Progress,
    ) -> Result<(), DemoError> {
        let first = pictures
            .iter()
            .filter(|picture| picture.path.ends_with("0000.png"));
        first
            .filter_map(|picture| picture.path.parent())
            .try_for_each(make_folder)?;
        pictures.par_iter().try_for_each(|picture| {
            if progress.is_cancelled() {
                return Err(cancelled(root));
            }
            let random = Random::of_picture(self.seed, picture.set, picture.index as u64);
            let pixels = match picture.subject {
                Subject::Shape(shape) => Picture::draw_lots(shape, random).draw(self.size),
                Subject::Far(far) => far.draw(self.size, random),
            };
            let bytes = png(&pixels, self.size).map_err(failed(&picture.path))?;
            write_file(&picture.path, &bytes)?;
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

/// The definition in the format of `docs/benchmarks.md`; paths are relative to the world's folder.
fn benchmark_definition() -> String {
    let mut text = "name = \"demo\"\n\
        description = \"Shapes that were trained on against shapes that were not, and against other pictures\"\n\n\
        [id]\nname = \"shapes\"\nfolder = \"val\"\n\n\
        [[ood]]\nname = \"other-shapes\"\nkind = \"near\"\nfolder = \"near\"\n"
        .to_owned();
    for far in Far::ALL {
        let name = far.name();
        text += &format!("\n[[ood]]\nname = \"{name}\"\nkind = \"far\"\nfolder = \"far-{name}\"\n");
    }
    text
}
