//! `clipn embed images`.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clipn::dataset::{KeyKind, NamedImage};
use clipn::inference::{FeaturePipeline, InferenceError, ItemError};
use clipn::model::Precision;
use clipn::progress::Progress;
use serde_json::{Value, json};

use super::args::{ElementType, EmbedImagesArgs};
use super::output::{EmbedOutput, RowShape, remove_leftovers};
use super::target::Target;
use super::{Finished, check_complete, differs, print_complete};
use crate::commands::classify::{ImageStream, RunSettings, ShardSpec, without_path, without_query};
use crate::common::detector::preprocessing;
use crate::common::device::Device;
use crate::common::error::hints::flag_for_image;
use crate::common::error::{CliError, chain_in_one_line};
use crate::common::messages::{hint, note_of_skipped};
use crate::common::model::LoadedModel;
use crate::common::progress::Bar;
use clipn::image::Preprocessing;

pub(super) fn run(args: &EmbedImagesArgs) -> Result<(), CliError> {
    args.sources.check()?;
    args.sources.check_exists()?;
    let shard = ShardSpec::from_args(&args.shard)?;
    let target = Target::new(&args.output, shard)?;
    if !args.output.resume {
        target.refuse_unless_replaced(args.output.force)?;
    }
    let inputs = args.sources.list.iter().chain(&args.sources.paths);
    let inputs = inputs.chain(&args.model.pretrained);
    target.refuse_inputs(inputs.map(PathBuf::as_path))?;
    let device = args.run.device.open()?;
    args.run.report(&device);
    let images = ImageStream::open(&args.sources, shard)?;
    let loaded = LoadedModel::open(&args.model, &device)?;
    let preprocessing = preprocessing(&loaded, args.faithful_pixels, &args.pixels);
    let settings = settings(args, shard, &loaded, &preprocessing);
    if args.output.resume && target.is_complete() {
        settings.check(&target.path, &target.settings)?;
        check_complete(&target, images.total(), &[])?;
        remove_leftovers(&target)?;
        return print_complete(&target);
    }
    ImageRun {
        args,
        device,
        images,
        loaded,
        preprocessing,
        settings,
        target,
    }
    .run()
}

/// State of one run.
struct ImageRun<'a> {
    args: &'a EmbedImagesArgs,
    device: Device,
    images: ImageStream,
    loaded: LoadedModel,
    preprocessing: Preprocessing,
    settings: RunSettings,
    target: Target,
}

impl ImageRun<'_> {
    fn run(self) -> Result<(), CliError> {
        let Self {
            args,
            device,
            mut images,
            loaded,
            preprocessing,
            settings,
            target,
        } = self;
        let bar = Bar::default();
        let tower = loaded.image_tower()?;
        let shape = RowShape {
            kind: KeyKind::Image,
            half: args.output.dtype == ElementType::F16,
            dim: tower.embed_dim(),
        };
        let mut output = if args.output.resume && target.exists() {
            resume(&target, &settings, shape, &mut images)?
        } else {
            EmbedOutput::create(target.clone(), &settings, shape, args.output.force)?
        };
        let before = output.counts.items();
        let (total, skipped) = (images.total(), images.skipped());
        match total {
            Some(total) => {
                bar.begin("encoding images", total);
                bar.advance(before);
            }
            None => bar.begin_uncounted("encoding images"),
        }
        let interrupted = images.interrupted();
        let mut advice: Vec<&str> = Vec::new();
        let inspect = |image: &NamedImage, row: Result<&[f32], ItemError>| {
            (image.name.clone(), row.map(<[f32]>::to_vec))
        };
        let sink = |(name, row): (String, Result<Vec<f32>, ItemError>)| match row {
            Ok(row) => output.push(name, Ok(row)),
            Err(error) if args.run.strict => Err(CliError::from_item(name, error)),
            Err(error) => {
                advice.extend(flag_for_image(&error).filter(|flag| !advice.contains(flag)));
                let error = without_path(&name, &chain_in_one_line(&error)).to_owned();
                output.push(name, Err(error))
            }
        };
        let outcome = FeaturePipeline::new(&*tower, &preprocessing)
            .with_parallelism(args.run.parallelism(&device))
            .with_normalization(!args.output.no_normalize)
            .with_progress(&bar)
            .run(images, inspect, sink);
        bar.end();
        let is_cancelled = match outcome {
            Err(CliError::Inference(InferenceError::Cancelled { .. })) => true,
            Ok(()) => interrupted.load(Ordering::Relaxed),
            Err(error) => {
                output.flush()?;
                return Err(error);
            }
        };
        if is_cancelled {
            output.flush()?;
            return Err(CliError::EmbedInterrupted {
                done: output.counts.items(),
                total,
                path: target.path,
            });
        }
        let counts = output.finish()?;
        note_of_skipped("", &skipped.get());
        advice.into_iter().for_each(hint);
        Finished {
            target: &target,
            counts,
            before,
            dim: shape.dim,
            args: &args.output,
            what: "images",
        }
        .report()
    }
}

/// Resumes an output: skips the images that are in it, which must come first.
fn resume(
    target: &Target,
    settings: &RunSettings,
    shape: RowShape,
    images: &mut ImageStream,
) -> Result<EmbedOutput, CliError> {
    let interrupted = images.interrupted();
    EmbedOutput::resume(
        target.clone(),
        settings,
        shape,
        |number, row| match images.next() {
            Some(image) if image.name == row.key => Ok(()),
            None if interrupted.load(Ordering::Relaxed) => Err(CliError::Interrupted {
                done: number - 1,
                total: None,
            }),
            image => Err(differs(
                &target.path,
                number,
                &row.key,
                image.as_ref().map(|image| image.name.as_str()),
            )),
        },
    )
}

/// Everything that rows depend on except the contents of the images.
fn settings(
    args: &EmbedImagesArgs,
    shard: ShardSpec,
    loaded: &LoadedModel,
    preprocessing: &Preprocessing,
) -> RunSettings {
    let paths = |paths: &[PathBuf]| -> Vec<Value> {
        let text = |path: &PathBuf| path.display().to_string();
        paths
            .iter()
            .map(|path| Value::from(without_query(&text(path))))
            .collect()
    };
    let precision = loaded.weights.precision();
    let settings = [
        ("image tower", json!(loaded.weights.image_tower_hash())),
        ("preprocessing", json!(preprocessing)),
        (
            "precision",
            json!((precision != Precision::F32).then_some(precision)),
        ),
        ("dtype", json!(args.output.dtype == ElementType::F16)),
        ("normalized", json!(!args.output.no_normalize)),
        ("paths", Value::from(paths(&args.sources.paths))),
        ("lists", Value::from(paths(&args.sources.list))),
        ("zero bytes in lists", json!(args.sources.null)),
        ("image key", json!(args.sources.image_key)),
        (
            "shard",
            json!(format!("{} of {}", shard.index, shard.count)),
        ),
    ];
    RunSettings::new(
        settings
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect(),
    )
}
