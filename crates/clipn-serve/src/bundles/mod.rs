//! What the server answers with: bundles by name, each with its model, replaced when their files
//! change.

mod deployment;
mod source;
mod watch;

pub(crate) use deployment::{Deployment, Slot};
pub use source::{ServedBundle, ServedModel};
pub(crate) use watch::watch;

use std::sync::Arc;

use crate::ServeError;
use crate::engine::{Engine, Resources};

/// The bundles of a server, in the order of its configuration. The first one answers where a request
/// names none.
pub(crate) struct Bundles(Vec<Slot>);

impl Bundles {
    /// Starts the workers. Bundles with the same image tower in memory share them.
    ///
    /// # Errors
    /// [`ServeError::InvalidSetting`] without bundles, and if two have one name or a name is invalid;
    /// [`ServeError::SpawnThreads`] if threads cannot be started.
    pub(crate) fn start(
        bundles: Vec<ServedBundle>,
        resources: &Arc<Resources>,
    ) -> Result<Self, ServeError> {
        check_names(&bundles)?;
        let mut slots: Vec<Slot> = Vec::with_capacity(bundles.len());
        for bundle in bundles {
            let ServedBundle { name, model, file } = bundle;
            let running = slots.iter().map(|slot| Arc::clone(&slot.current().engine));
            let engine = engine_for(&model, running, resources)?;
            let deployment = Deployment::new(name.clone(), model, engine);
            slots.push(Slot::new(name, deployment, file));
        }
        Ok(Self(slots))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter()
    }

    /// The bundle of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&Slot> {
        self.0.iter().find(|slot| slot.name() == name)
    }

    /// The bundle that answers where a request names none. There is always one.
    pub(crate) fn default(&self) -> &Slot {
        &self.0[0]
    }

    /// The running engines, each with the names of its bundles.
    pub(crate) fn engines(&self) -> Vec<(String, Arc<Engine>)> {
        let mut engines: Vec<(String, Arc<Engine>)> = Vec::new();
        for slot in &self.0 {
            let engine = Arc::clone(&slot.current().engine);
            match engines
                .iter_mut()
                .find(|(_, other)| Arc::ptr_eq(other, &engine))
            {
                Some((names, _)) => *names = format!("{names}, {}", slot.name()),
                None => engines.push((slot.name().to_owned(), engine)),
            }
        }
        engines
    }
}

/// The running engine with the image tower of a model, or a new one.
fn engine_for(
    model: &ServedModel,
    mut running: impl Iterator<Item = Arc<Engine>>,
    resources: &Arc<Resources>,
) -> Result<Arc<Engine>, ServeError> {
    match running.find(|engine| engine.serves(&model.detector)) {
        Some(engine) => Ok(engine),
        None => Ok(Arc::new(Engine::start(resources, &model.detector)?)),
    }
}

/// Maximum length of a bundle's name in characters.
const MAX_NAME_CHARS: usize = 64;

fn check_names(bundles: &[ServedBundle]) -> Result<(), ServeError> {
    let invalid = |message| Err(ServeError::InvalidSetting(message));
    if bundles.is_empty() {
        return invalid("expected at least 1 bundle, got 0".to_owned());
    }
    for (index, bundle) in bundles.iter().enumerate() {
        let name = &bundle.name;
        let is_valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let length = name.chars().count();
        if !(1..=MAX_NAME_CHARS).contains(&length) || !name.chars().all(is_valid) {
            return invalid(format!(
                "invalid bundle name {name:?}: expected 1 to {MAX_NAME_CHARS} letters, digits, `-`, \
                 `_` or `.`"
            ));
        }
        if bundles[..index].iter().any(|other| other.name == *name) {
            return invalid(format!("duplicate bundle name {name:?}"));
        }
    }
    Ok(())
}
