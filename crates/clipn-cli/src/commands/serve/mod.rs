//! `clipn serve`: a detector over HTTP until Ctrl-C or SIGTERM.
mod args;
mod log;

use std::io::Write;
use std::path::Path;

use clipn::classifier::Wording;
use clipn::detector::Detector;
use clipn::prompts::TemplateSet;
use clipn_serve::{ClassEncoder, Server};

pub use args::ServeArgs;

use crate::common::detector::{DetectorArgs, Opened};
use crate::common::error::CliError;
use crate::common::interrupt;
use crate::common::model::Loaded;
use crate::common::progress::Bar;

/// `clipn serve`.
pub fn run(args: &ServeArgs) -> Result<(), CliError> {
    // Wrong use is told before the model is read.
    let settings = args.settings()?;
    let open_to_others = settings.is_open_to_others();
    let Opened { detector, weights } = args.detector.open(&Bar::default())?;
    let model = model_name(&args.detector, &detector);
    let encoder = weights
        .map(|weights| encoder(&args.detector, &detector, &weights))
        .transpose()?;
    log::install(args.log_format, args.log_level);
    if encoder.is_none() {
        tracing::info!("there are no text towers: requests can name the server's own classes only");
    }
    if open_to_others {
        tracing::warn!(
            "anybody who reaches {} may use this server: it has no API keys; give --api-keys-file, or listen on \
             127.0.0.1",
            args.host
        );
    }
    let server = Server::bind(settings, detector, model, encoder)?;
    let mut out = std::io::stdout();
    writeln!(out, "http://{}", server.address())
        .and_then(|()| out.flush())
        .map_err(CliError::Output)?;
    server.run_until(interrupt::requested)?;
    Ok(())
}

/// What answers call the model: the architecture, or the name that it was asked for by.
fn model_name(args: &DetectorArgs, detector: &Detector) -> String {
    let identity = detector.bundle().map(|bundle| bundle.identity());
    let asked = match identity {
        Some(identity) => identity
            .source
            .clone()
            .unwrap_or_else(|| identity.config.name.clone()),
        None => args.model.asked().display().to_string(),
    };
    // Where it lies on this machine is nobody's business.
    match Path::new(&asked).file_name() {
        Some(name) if !asked.starts_with("hf-hub:") => name.to_string_lossy().into_owned(),
        _ => asked,
    }
}

/// The text towers with what the classes were asked with.
fn encoder(
    args: &DetectorArgs,
    detector: &Detector,
    loaded: &Loaded,
) -> Result<ClassEncoder, CliError> {
    let (templates, wording): (TemplateSet, Wording) = match detector.bundle() {
        Some(bundle) => (bundle.templates().clone(), bundle.wording()),
        None => {
            let templates = TemplateSet::resolve(loaded.templates(&args.prompts))?;
            let wording = args.prompts.variant.wording(&loaded.weights, &templates);
            (templates, wording)
        }
    };
    Ok(ClassEncoder::new(&loaded.weights, templates, wording)?)
}
