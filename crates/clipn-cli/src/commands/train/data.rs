//! The training data: its settings, and what is unusual about it.

use std::fmt::Display;

use clipn::dataset::{
    CaptionField, CaptionSource, CaptionTable, CaptionTableFormat, SampleFields, Sampling,
    SkipLimit, TableQuoting,
};
use clipn::training::{DataSettings, DatasetKind, TrainRun};

use super::args::{DatasetType, TrainArgs};
use crate::common::classes;
use crate::common::error::CliError;
use crate::common::messages::{detail, hint, note, warning};

/// The settings of the data.
pub(super) fn settings(args: &TrainArgs) -> Result<DataSettings, CliError> {
    let train_data = args.train_data.clone().unwrap_or_default();
    let kind = match args.dataset_type {
        DatasetType::Csv => DatasetKind::Csv,
        DatasetType::Webdataset => DatasetKind::Webdataset,
        DatasetType::Jsonl => DatasetKind::Jsonl,
        DatasetType::Parquet => DatasetKind::Parquet,
        DatasetType::Auto => DatasetKind::detect(&train_data),
    };
    let names = match &args.class_names {
        // Captions of equal classes are equal, which is no fault.
        Some(spec) => classes::read(spec, true)?.into_names().into(),
        None => Vec::new(),
    };
    let sampling = if args.dataset_resampled {
        Sampling::WithReplacement
    } else {
        Sampling::Shuffled
    };
    Ok(DataSettings {
        kind,
        train_data,
        num_samples: args.train_num_samples,
        sampling,
        max_bad: SkipLimit::Fraction(args.max_bad),
        images: images(args),
        captions: captions(args, &names),
        table: CaptionTableFormat {
            separator: args.csv_separator,
            image_key: args.csv_img_key.clone(),
            caption_key: args.csv_caption_key.clone(),
            quoting: args.csv_quoting,
            class_names: names,
        },
    })
}

/// The extensions of images in shards.
fn images(args: &TrainArgs) -> Vec<String> {
    let given = args.fields.as_ref().map(|fields| fields.images.clone());
    given
        .filter(|images| !images.is_empty())
        .unwrap_or_else(|| SampleFields::default().images)
}

/// The sources of captions in shards.
fn captions(args: &TrainArgs, names: &[String]) -> Vec<CaptionField> {
    let given = args.fields.as_ref().map(|fields| &fields.captions[..]);
    let given = given.unwrap_or_default();
    let or = |default: &str| match given {
        [] => vec![default.to_owned()],
        given => given.to_vec(),
    };
    if let Some(key) = &args.json_caption_key {
        let field = |extension| CaptionField::Json {
            extension,
            key: key.clone(),
        };
        return or("json").into_iter().map(field).collect();
    }
    if !names.is_empty() {
        let field = |extension| CaptionField::Class {
            extension,
            names: names.to_vec(),
        };
        return or("cls").into_iter().map(field).collect();
    }
    if given.is_empty() {
        return SampleFields::default().captions;
    }
    let field = |extension: &String| {
        if extension == "json" || extension.ends_with(".json") {
            CaptionField::Json {
                extension: extension.clone(),
                key: "caption".to_owned(),
            }
        } else {
            CaptionField::Text {
                extension: extension.clone(),
            }
        }
    };
    given.iter().map(field).collect()
}

/// Prints what is lost of the data, and what was detected in a table.
pub(super) fn report(run: &TrainRun) {
    let settings = &run.settings().data;
    if let Some(damage) = run.data().damage(settings.num_samples) {
        warning(damage);
    }
    match run.data() {
        CaptionSource::Table(table) => report_table(table, &settings.table),
        #[cfg(feature = "parquet")]
        CaptionSource::Parquet(files) => {
            report_columns(&settings.train_data, files.columns(), &settings.table);
        }
        _ => {}
    }
}

/// Prints the columns that replace those requested.
fn report_columns(
    path: impl Display,
    (image, caption): (&str, &str),
    requested: &CaptionTableFormat,
) {
    if (image, caption) != (&requested.image_key, &requested.caption_key) {
        note(format_args!(
            "{path}: images from `{image}`, captions from `{caption}`"
        ));
    }
}

fn report_table(table: &CaptionTable, requested: &CaptionTableFormat) {
    let path = table.path().display();
    let columns = (table.image_key(), table.caption_key());
    report_columns(&path, columns, requested);
    match (requested.quoting, table.quoting()) {
        (TableQuoting::Auto, TableQuoting::None) if table.has_quotes() => note(format_args!(
            "{path}: quotes are characters like any other (--csv-quoting none), since no field is \
             quoted throughout"
        )),
        (TableQuoting::Auto, quoting) if table.has_quotes() => {
            detail(format_args!(
                "{path}: quotes enclose fields (--csv-quoting {quoting})"
            ));
        }
        _ => {}
    }
    if let Some(fields) = table.multiline_fields() {
        let several = if fields.count == 1 {
            "1 field holds".to_owned()
        } else {
            format!("{} fields hold", fields.count)
        };
        warning(format_args!(
            "{path}: {several} line ends, the first on line {}; a quote that is not closed joins rows",
            fields.first_line
        ));
        if table.has_quotes() {
            hint("if quotes do not enclose fields, give --csv-quoting none");
        }
    }
}
