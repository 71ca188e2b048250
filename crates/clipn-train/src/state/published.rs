//! The published code's training checkpoint: `{epoch, name, state_dict, optimizer, scaler}` as
//! written by `torch.save`.

use std::path::Path;

use clipn_checkpoint::{Checkpoint, Tensor, Value};
use clipn_model::Real;

use super::{StateError, moments};
use crate::optimizer::{AdamW, AdamWSettings, Moments, has_weight_decay};

/// Weights and moments of a published `epoch_N.pt`.
#[derive(Debug)]
pub struct PublishedCheckpoint<T: Real> {
    /// Number of completed epochs.
    pub epoch: u64,
    /// Name of the run.
    pub name: Option<String>,
    /// Number of optimizer steps taken.
    pub step: u64,
    /// Weights, memory-mapped.
    pub model: Checkpoint,
    /// Optimizer with its settings and moments. The `scaler` of mixed precision has no counterpart
    /// here.
    pub optimizer: AdamW<T>,
}

impl<T: Real> PublishedCheckpoint<T> {
    /// Reads an `epoch_N.pt`.
    ///
    /// PyTorch numbers the moments: first all parameters that do not decay, then all that do, each
    /// in the order of the weights and without frozen ones. The file does not say which are frozen.
    /// So the "no" side alone is tried first, then all parameters; every moment must have its
    /// weight's shape.
    ///
    /// # Errors
    /// [`StateError::Checkpoint`] if the file cannot be read, [`StateError::NotAPublishedCheckpoint`] if it has
    /// no optimizer or its parameters match neither order, [`StateError::MomentMismatch`] if a moment's
    /// shape does not match.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StateError> {
        Self::from_checkpoint(Checkpoint::open(path.as_ref())?)
    }

    /// Same as [`open`](Self::open), for a checkpoint that is already open.
    ///
    /// # Errors
    /// Same as [`open`](Self::open).
    pub fn from_checkpoint(model: Checkpoint) -> Result<Self, StateError> {
        let path = model.path().to_owned();
        let fail = |what: String| StateError::NotAPublishedCheckpoint {
            path: path.clone(),
            what,
        };
        let Some(object) = model.object() else {
            return Err(fail("a safetensors file has no optimizer state".to_owned()));
        };
        let Some(optimizer) = object.get("optimizer") else {
            return Err(fail("missing `optimizer`".to_owned()));
        };
        let epoch = object
            .get("epoch")
            .and_then(Value::as_i64)
            .and_then(|epoch| u64::try_from(epoch).ok());
        let Some(epoch) = epoch else {
            return Err(fail("missing `epoch` number".to_owned()));
        };
        let groups = Groups::read(optimizer).map_err(fail)?;
        let names = groups.names(&model).map_err(fail)?;
        let mut restored: Vec<(String, Moments<T>)> = Vec::new();
        for (&index, name) in groups.indices().zip(names) {
            let Some(entry) = optimizer
                .get("state")
                .and_then(|state| state.get_index(index))
            else {
                // PyTorch stores no moments for a parameter that never had a gradient.
                continue;
            };
            let (step, first, second) = entry_parts(entry, name).map_err(fail)?;
            let moments = moments::moments(&path, name, model.get(name), step, first, second)?;
            restored.push((name.to_owned(), moments));
        }
        let step = restored
            .iter()
            .map(|(_, moments)| moments.step())
            .max()
            .unwrap_or(0);
        let name = object
            .get("name")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let optimizer = moments::optimizer(&path, groups.settings, restored)?;
        Ok(Self {
            epoch,
            name,
            step,
            model,
            optimizer,
        })
    }
}

/// Parameter groups of the optimizer: first the parameters that do not decay.
struct Groups {
    settings: AdamWSettings,
    not_decaying: Vec<i64>,
    decaying: Vec<i64>,
}

impl Groups {
    fn read(optimizer: &Value) -> Result<Self, String> {
        let groups = optimizer
            .get("param_groups")
            .and_then(Value::as_sequence)
            .unwrap_or_default();
        let [not_decaying, decaying] = groups else {
            return Err(format!("expected 2 parameter groups, got {}", groups.len()));
        };
        let number = |group: &Value, key: &str| {
            let value = group.get(key).and_then(Value::as_f64);
            value.ok_or_else(|| format!("missing number `{key}` in the parameter groups"))
        };
        let betas = decaying.get("betas");
        let beta = |at: i64| {
            let beta = betas
                .and_then(|betas| betas.get_index(at))
                .and_then(Value::as_f64);
            beta.ok_or_else(|| "missing `betas` in the parameter groups".to_owned())
        };
        if number(not_decaying, "weight_decay")? != 0.0 {
            return Err("expected weight decay 0 in the first parameter group".to_owned());
        }
        for flag in ["amsgrad", "maximize"] {
            if decaying.get(flag).and_then(Value::as_bool) == Some(true) {
                return Err(format!("unsupported optimizer option `{flag}`"));
            }
        }
        let settings = AdamWSettings {
            beta1: beta(0)?,
            beta2: beta(1)?,
            eps: number(decaying, "eps")?,
            weight_decay: number(decaying, "weight_decay")?,
            max_gradient_norm: None,
        };
        Ok(Self {
            settings,
            not_decaying: indices(not_decaying)?,
            decaying: indices(decaying)?,
        })
    }

    fn indices(&self) -> impl Iterator<Item = &i64> {
        self.not_decaying.iter().chain(&self.decaying)
    }

    /// Returns the names of the parameters in the order of [`indices`](Self::indices).
    fn names<'a>(&self, model: &'a Checkpoint) -> Result<Vec<&'a str>, String> {
        let no_side: Vec<_> = parameters(model)
            .filter(|(name, _)| is_no_side(name))
            .collect();
        let all: Vec<_> = parameters(model).collect();
        for candidates in [&no_side, &all] {
            let (decaying, not_decaying): (Vec<_>, Vec<_>) = candidates
                .iter()
                .partition(|(name, tensor)| has_weight_decay(name, tensor.shape()));
            if not_decaying.len() == self.not_decaying.len()
                && decaying.len() == self.decaying.len()
            {
                return Ok(not_decaying
                    .iter()
                    .chain(&decaying)
                    .map(|(name, _)| *name)
                    .collect());
            }
        }
        Err(format!(
            "the optimizer's {} parameters without and {} with weight decay match neither the {} \
             parameters of the \"no\" side nor all {} parameters",
            self.not_decaying.len(),
            self.decaying.len(),
            no_side.len(),
            all.len()
        ))
    }
}

fn indices(group: &Value) -> Result<Vec<i64>, String> {
    let listed = group.get("params").and_then(Value::as_sequence);
    let indices = listed.and_then(|listed| listed.iter().map(Value::as_i64).collect());
    indices.ok_or_else(|| "missing list `params` of integers in the parameter groups".to_owned())
}

/// Returns the tensors that an optimizer could train, without batch-norm statistics and masks.
fn parameters(model: &Checkpoint) -> impl Iterator<Item = (&str, &Tensor)> {
    const BUFFERS: [&str; 4] = [
        "running_mean",
        "running_var",
        "num_batches_tracked",
        "attn_mask",
    ];
    model
        .iter()
        .filter(|(name, _)| !BUFFERS.contains(&name.rsplit('.').next().unwrap_or(name)))
}

fn is_no_side(name: &str) -> bool {
    name.split('.')
        .next()
        .is_some_and(|first| first.ends_with("_no"))
}

/// Returns step, `exp_avg` and `exp_avg_sq` of one parameter. The step is a tensor, or a plain
/// number before PyTorch 1.12.
fn entry_parts<'a>(entry: &'a Value, name: &str) -> Result<(u64, &'a Tensor, &'a Tensor), String> {
    let tensor = |key: &str| {
        let tensor = entry.get(key).and_then(Value::as_tensor);
        tensor.ok_or_else(|| format!("missing tensor `{key}` in the optimizer state of {name}"))
    };
    let step = entry.get("step").and_then(|step| match step {
        Value::Tensor(tensor) if tensor.len() == 1 => tensor.to_f64().first().copied(),
        other => other.as_f64(),
    });
    let step = step.filter(|step| *step >= 0.0 && step.fract() == 0.0 && *step <= 2f64.powi(53));
    let step =
        step.ok_or_else(|| format!("missing integer `step` in the optimizer state of {name}"))?;
    Ok((step as u64, tensor("exp_avg")?, tensor("exp_avg_sq")?))
}
