//! `clipn embed texts`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clipn::dataset::KeyKind;
use clipn::model::{FeatureMatrix, NoSideOrigin, TextTower, has_direction};
use clipn::progress::Progress;
use clipn::prompts::TemplateSet;
use clipn::scores::LOGIT_SCALE;
use clipn::tokenizer::Tokenizer;
use serde_json::json;

use super::args::{ElementType, EmbedTextsArgs, Side};
use super::output::{EmbedOutput, RowShape, remove_leftovers};
use super::target::Target;
use super::{Finished, check_complete, differs, print_complete};
use crate::commands::classify::{RunSettings, ShardSpec};
use crate::common::args::PromptArgs;
use crate::common::classes::ClassesToEncode;
use crate::common::error::CliError;
use crate::common::messages::{status, warning};
use crate::common::model::LoadedModel;
use crate::common::progress::Bar;
use crate::common::{classes, interrupt};

/// Texts that are encoded at a time.
const BATCH: usize = 256;

pub(super) fn run(args: &EmbedTextsArgs) -> Result<(), CliError> {
    let shard = ShardSpec::from_args(&args.shard)?;
    if args.templates.is_some() && !shard.is_all() {
        return Err(CliError::usage_with_hint(
            "class names with --templates are encoded in one process",
            "leave out the flags of shards",
        ));
    }
    let target = Target::new(&args.output, shard)?;
    if !args.output.resume {
        target.refuse_unless_replaced(args.output.force)?;
    }
    let inputs = [&args.input].into_iter().chain(&args.templates);
    let weights = args.model.pretrained.iter().map(PathBuf::as_path);
    target.refuse_inputs(inputs.map(Path::new).chain(weights))?;
    let device = args.device.open()?;
    let loaded = LoadedModel::open(&args.model, &device)?;
    if args.side == Side::No && loaded.weights.no_side_origin() == NoSideOrigin::CopiedFromYes {
        return Err(CliError::usage_with_hint(
            "the weights have not learned \"no\"",
            "leave out --side, or give weights with a \"no\" side",
        ));
    }
    let settings = settings(args, shard, &loaded)?;
    let classes = match &args.templates {
        Some(_) => Some(classes::to_encode(&args.input, args.allow_duplicates)?),
        None => None,
    };
    let texts = match &classes {
        Some(classes) => classes.names.clone(),
        None => read_texts(&args.input, shard)?,
    };
    if args.output.resume && target.is_complete() {
        settings.check(&target.path, &target.settings)?;
        check_complete(&target, Some(texts.len() as u64), &texts)?;
        remove_leftovers(&target)?;
        return print_complete(&target);
    }
    let bar = Bar::default();
    if let Some(classes) = &classes {
        return class_rows(args, (&loaded, classes), &target, &settings, &bar);
    }
    let tower = loaded
        .towers()
        .text_tower(&loaded.weights, args.side.text_side())?;
    let mut output = start(args, &target, &settings, tower.embed_dim(), &texts)?;
    let before = output.counts.items();
    bar.begin("encoding texts", texts.len() as u64);
    bar.advance(before);
    let mut cut = 0;
    let done = usize::try_from(before).unwrap_or(usize::MAX);
    for batch in texts.get(done..).unwrap_or_default().chunks(BATCH) {
        if interrupt::requested() {
            bar.end();
            output.flush()?;
            return Err(CliError::EmbedInterrupted {
                done: output.counts.items(),
                total: Some(texts.len() as u64),
                path: target.path,
            });
        }
        let (features, truncated) = encode(&*tower, batch, !args.output.no_normalize)?;
        cut += truncated;
        for (text, row) in batch.iter().zip(features.rows()) {
            let row = if has_direction(row) {
                Ok(row.to_vec())
            } else {
                Err("the text features are NaN, infinite or zero: the weights are damaged".into())
            };
            output.push(text.clone(), row)?;
        }
        bar.advance(batch.len() as u64);
    }
    bar.end();
    if cut > 0 {
        let context = tower.context_length();
        warning(format_args!("texts cut to {context} tokens: {cut}"));
    }
    finish(args, output, &target, tower.embed_dim(), before)
}

/// Writes one row per class: the mean over the templates.
fn class_rows(
    args: &EmbedTextsArgs,
    (loaded, names): (&LoadedModel, &ClassesToEncode),
    target: &Target,
    settings: &RunSettings,
    bar: &Bar,
) -> Result<(), CliError> {
    let prompts = PromptArgs {
        templates: args.templates.clone(),
        variant: args.variant,
        logit_scale: None,
        allow_duplicates: args.allow_duplicates,
    };
    let (classifier, _) = loaded.classifier(names, &prompts, bar)?;
    let rows = match args.side {
        Side::Yes => Some(classifier.yes_weights()),
        Side::No => classifier.no_weights(),
    };
    let dim = classifier.dim();
    let mut output = start(args, target, settings, dim, &names.names)?;
    let before = output.counts.items();
    let rows = rows.unwrap_or_default().chunks_exact(dim);
    let done = usize::try_from(before).unwrap_or(usize::MAX);
    for (name, row) in names.names.iter().zip(rows).skip(done) {
        output.push(name.clone(), Ok(row.to_vec()))?;
    }
    finish(args, output, target, dim, before)?;
    // Files of rows have no place for it.
    let scale = classifier.scale();
    if scale != LOGIT_SCALE {
        status(format_args!(
            "the logit scale of these weights is {scale}: give --scale {scale} with --text-features"
        ));
    }
    let factor = classifier.no_scale();
    if args.side == Side::No && factor != 1.0 {
        status(format_args!(
            "the \"no\" logits of these weights have the factor {factor}: give --no-scale {factor} with \
             --no-features"
        ));
    }
    Ok(())
}

/// Creates the output, or resumes it after the texts that are in it.
fn start(
    args: &EmbedTextsArgs,
    target: &Target,
    settings: &RunSettings,
    dim: usize,
    texts: &[String],
) -> Result<EmbedOutput, CliError> {
    let shape = RowShape {
        kind: KeyKind::Text,
        half: args.output.dtype == ElementType::F16,
        dim,
    };
    if !(args.output.resume && target.exists()) {
        return EmbedOutput::create(target.clone(), settings, shape, args.output.force);
    }
    EmbedOutput::resume(target.clone(), settings, shape, |number, row| {
        let text = texts.get(usize::try_from(number - 1).unwrap_or(usize::MAX));
        match text {
            Some(text) if *text == row.key => Ok(()),
            text => Err(differs(
                &target.path,
                number,
                &row.key,
                text.map(String::as_str),
            )),
        }
    })
}

fn finish(
    args: &EmbedTextsArgs,
    output: EmbedOutput,
    target: &Target,
    dim: usize,
    before: u64,
) -> Result<(), CliError> {
    let counts = output.finish()?;
    Finished {
        target,
        counts,
        before,
        dim,
        args: &args.output,
        what: "texts",
    }
    .report()
}

/// Encodes a batch of texts; returns the features, and the number of texts that were cut.
fn encode(
    tower: &dyn TextTower<f32>,
    texts: &[String],
    normalized: bool,
) -> Result<(FeatureMatrix<f32>, usize), CliError> {
    let (tokens, truncated) =
        Tokenizer::clip().tokenize_batch_counted(texts, tower.context_length());
    let mut features = tower.encode(&tokens)?;
    if normalized {
        features.normalize();
    }
    Ok((features, truncated))
}

/// Reads the lines of this process's shard. An empty line is a text without words.
fn read_texts(input: &str, shard: ShardSpec) -> Result<Vec<String>, CliError> {
    let unreadable = |source| CliError::ReadFile {
        path: input.into(),
        source,
    };
    let source: Box<dyn BufRead> = if input == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(input).map_err(unreadable)?))
    };
    let mut texts = Vec::new();
    let mut empty = 0;
    for (number, line) in (0..).zip(source.lines()) {
        let line = line.map_err(unreadable)?;
        let line = if number == 0 {
            line.trim_start_matches('\u{feff}').to_owned()
        } else {
            line
        };
        if shard.contains(number) {
            empty += usize::from(line.trim().is_empty());
            texts.push(line);
        }
    }
    if texts.is_empty() && shard.is_all() {
        return Err(CliError::usage(format!("{input} has no texts")));
    }
    if empty > 0 {
        warning(format_args!("empty lines: {empty} of {}", texts.len()));
    }
    Ok(texts)
}

/// Everything that rows depend on except the texts.
fn settings(
    args: &EmbedTextsArgs,
    shard: ShardSpec,
    loaded: &LoadedModel,
) -> Result<RunSettings, CliError> {
    // The file of that name may change.
    let templates = args.templates.as_deref().map(TemplateSet::resolve);
    let templates = match templates.transpose()? {
        Some(templates) => Some(crc32fast::hash(&serde_json::to_vec(&templates)?)),
        None => None,
    };
    let settings = [
        ("text towers", json!(loaded.weights.text_towers_hash())),
        ("side", json!(args.side == Side::No)),
        ("templates", json!(args.templates)),
        ("checksum of the templates", json!(templates)),
        ("variant", json!(args.variant.settings_name())),
        ("precision", json!(loaded.weights.precision())),
        ("dtype", json!(args.output.dtype == ElementType::F16)),
        ("normalized", json!(!args.output.no_normalize)),
        ("input", json!(args.input)),
        (
            "shard",
            json!(format!("{} of {}", shard.index, shard.count)),
        ),
    ];
    Ok(RunSettings::new(
        settings
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect(),
    ))
}
