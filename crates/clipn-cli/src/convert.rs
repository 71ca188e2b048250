use std::io::Write;

use clipn::model::{Conversion, Converted, ModelConfig, Pretrained, Target};
use clipn::prompts::TemplateSet;
use serde_json::{Value, json};

use crate::args::{ConvertArgs, Format};
use crate::error::CliError;
use crate::figures::{bytes, thousands};
use crate::inspect::form;
use crate::loading::open_pretrained;
use crate::progress::Bar;

/// `clipn convert`.
pub fn run(args: &ConvertArgs) -> Result<(), CliError> {
    let model = args.model.as_deref().map(ModelConfig::resolve).transpose()?;
    let from = open_pretrained(&args.input)?;
    if args.to != Target::Clipn
        && (args.only_seen_words || args.templates.is_some() || args.logit_scale.is_some())
    {
        let problem = "--only-seen-words, --templates and --logit-scale are of --to clipn, a file of this program's own";
        return Err(CliError::Usage(problem.to_owned()));
    }
    if let Some(name) = &args.templates {
        TemplateSet::named(name)?;
    }
    let conversion = Conversion {
        to: args.to,
        float: args.dtype.float(),
        only_seen_words: args.only_seen_words,
        templates: args.templates.clone(),
        logit_scale: args.logit_scale,
        replace: args.force,
    };
    let converted = conversion.run(&from, model, &args.output, &Bar::default())?;
    for left_out in &converted.left_out {
        eprintln!("left out: {left_out}");
    }
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Table => table(&mut out, &from, &converted).map_err(CliError::Output),
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &object(&from, &converted))?;
            writeln!(out).map_err(CliError::Output)
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(["file", "bytes"])?;
            for (path, bytes) in &converted.files {
                csv.write_record([path.display().to_string(), bytes.to_string()])?;
            }
            csv.flush().map_err(CliError::Output)
        }
    }
}

fn table(out: &mut impl Write, from: &Pretrained, converted: &Converted) -> std::io::Result<()> {
    let Converted { to, config, files, tensors, dtypes, parameters, .. } = converted;
    writeln!(out, "read        {}", from.checkpoint().path().display())?;
    writeln!(out, "source      {}", from.kind())?;
    writeln!(out, "kind        {}", form(from.checkpoint()))?;
    writeln!(out, "model       {}", config.name)?;
    writeln!(out, "became      {to}")?;
    for (path, size) in files {
        writeln!(out, "wrote       {} ({})", path.display(), bytes(*size))?;
    }
    let dtypes: Vec<String> = dtypes.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
    writeln!(out, "tensors     {tensors} ({})", dtypes.join(", "))?;
    let no = match parameters.no {
        0 => "no \"no\" side".to_owned(),
        no => format!("no {}", thousands(no)),
    };
    writeln!(
        out,
        "parameters  {} (image {}, yes {}, {no})",
        thousands(parameters.clipn()),
        thousands(parameters.image),
        thousands(parameters.yes),
    )
}

fn object(from: &Pretrained, converted: &Converted) -> Value {
    let checkpoint = from.checkpoint();
    let files = converted.files.iter().map(|(path, bytes)| json!({ "path": path, "bytes": bytes }));
    json!({
        "read": checkpoint.path(),
        "source": from.kind(),
        "kind": checkpoint.kind().to_string(),
        "files": checkpoint.parts(),
        "model": converted.config.name,
        "to": converted.to.name(),
        "written": files.collect::<Vec<_>>(),
        "tensors": converted.tensors,
        "dtypes": converted.dtypes,
        "parameters": converted.parameters,
        "left_out": converted.left_out.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
