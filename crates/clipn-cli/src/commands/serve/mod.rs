//! `clipn serve`: serves a detector over HTTP until Ctrl-C or SIGTERM.

mod args;
mod bundles;
mod check;
mod log;

use std::io::Write;
use std::path::Path;

use clipn::detector::Detector;
use clipn_serve::{ClassEncoder, ServedBundle, ServedModel, Server};

pub(crate) use args::ServeArgs;

use args::LogLevel;

use crate::common::detector::{DetectorArgs, OpenedDetector};
use crate::common::device::Device;
use crate::common::error::CliError;
use crate::common::progress::Bar;
use crate::common::{allocator, interrupt, messages};

/// `clipn serve`.
pub(crate) fn run(args: &ServeArgs) -> Result<(), CliError> {
    if args.check {
        return check::run(args);
    }
    #[cfg(unix)]
    crate::common::children::discard_as_first_process()?;
    allocator::return_freed_memory();
    // Check the settings before the model is read.
    let settings = args.settings()?;
    settings.check()?;
    let allows_remote_access_without_key = settings.allows_remote_access_without_key();
    let log_level = match args.log_level {
        LogLevel::Info | LogLevel::Debug if messages::is_quiet() => LogLevel::Warn,
        level => level,
    };
    log::install(args.log_format, log_level);
    messages::log();
    let device = args.device.open()?;
    let bundles = match args.detector.bundle.as_slice() {
        [] => {
            let model = open_classes(&args.detector, &device)?;
            vec![ServedBundle::new("default", model)]
        }
        _ => bundles::open(&args.detector, &device)?,
    };
    for bundle in &bundles {
        if bundle.model().encoder.is_none() {
            tracing::info!(
                bundle = bundle.name(),
                "no text towers: requests cannot define classes"
            );
        }
    }
    if allows_remote_access_without_key {
        tracing::warn!(
            "no API keys: everyone who can reach {} can use this server; give --api-keys-file, or \
             --host 127.0.0.1",
            args.host
        );
    }
    let server = Server::bind_bundles(settings, bundles)?;
    let mut out = std::io::stdout();
    writeln!(out, "http://{}", server.local_addr())
        .and_then(|()| out.flush())
        .map_err(CliError::Output)?;
    server.run_until(interrupt::requested)?;
    Ok(())
}

/// The name of the model in responses: the architecture, or the name that the user gave.
fn model_name(args: &DetectorArgs, detector: &Detector) -> String {
    let identity = detector.bundle().map(|bundle| bundle.identity());
    let name = match identity {
        Some(identity) => identity
            .source
            .clone()
            .unwrap_or_else(|| identity.config.name.clone()),
        None => args.model.requested().display().to_string(),
    };
    // Do not disclose directories of this machine.
    match Path::new(&name).file_name() {
        Some(file_name) if !name.starts_with("hf-hub:") => file_name.to_string_lossy().into_owned(),
        _ => name,
    }
}

/// Opens the model and builds the classifier of `--classes`.
fn open_classes(args: &DetectorArgs, device: &Device) -> Result<ServedModel, CliError> {
    let OpenedDetector { detector, weights } = args.open(device, &Bar::default())?;
    args.warn_of_unread_negatives(&detector);
    let name = model_name(args, &detector);
    let encoder = match weights {
        Some(loaded) => {
            let prompts = loaded.class_prompts(&args.prompts)?;
            Some(ClassEncoder::new_on(
                &loaded.weights,
                prompts,
                loaded.factory(),
            )?)
        }
        None => None,
    };
    Ok(ServedModel::new(detector, name).with_encoder(encoder))
}
