//! Errors of `wgpu`, which by default panic, and lost devices, which by default swallow work.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::DeviceError;
use crate::wgpu::adapters::block_on;

/// What went wrong on a device outside the call that caused it.
#[derive(Debug)]
pub(super) struct Failures {
    name: String,
    /// Reason why the device was lost.
    lost: Mutex<Option<String>>,
    /// First error outside a scope.
    uncaptured: Mutex<Option<String>>,
}

impl Failures {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            lost: Mutex::new(None),
            uncaptured: Mutex::new(None),
        }
    }

    /// Registers the handlers of a device.
    pub(super) fn listen(self: &Arc<Self>, device: &wgpu::Device) {
        let failures = Arc::clone(self);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let mut first = failures
                .uncaptured
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| error.to_string());
        }));
        let failures = Arc::clone(self);
        device.set_device_lost_callback(move |reason, message| {
            failures.set_lost(format!("{reason:?} {message}").trim().to_owned());
        });
    }

    pub(super) fn set_lost(&self, reason: String) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert(reason);
    }

    /// Returns the failure of an earlier call, if there is one.
    pub(super) fn check(&self) -> Result<(), DeviceError> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &*lost {
            return Err(DeviceError::Lost {
                device: self.name.clone(),
                reason: reason.clone(),
            });
        }
        let uncaptured = self
            .uncaptured
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*uncaptured {
            Some(message) => Err(self.backend("an earlier call", message.clone())),
            None => Ok(()),
        }
    }

    /// Makes a call, and returns its error as a value.
    pub(super) fn catch<T>(
        &self,
        device: &wgpu::Device,
        call: &'static str,
        make: impl FnOnce() -> T,
    ) -> Result<T, DeviceError> {
        self.check()?;
        let scopes = [
            wgpu::ErrorFilter::Internal,
            wgpu::ErrorFilter::OutOfMemory,
            wgpu::ErrorFilter::Validation,
        ]
        .map(|filter| device.push_error_scope(filter));
        let made = make();
        let mut errors = scopes.into_iter().rev().map(|scope| block_on(scope.pop()));
        let error = errors.by_ref().flatten().next();
        // The other scopes must be popped too, in order.
        errors.for_each(drop);
        match error {
            None => {
                self.check()?;
                Ok(made)
            }
            Some(error) => Err(self.backend(call, error.to_string())),
        }
    }

    pub(super) fn backend(&self, call: &'static str, message: String) -> DeviceError {
        DeviceError::Backend {
            device: self.name.clone(),
            call,
            message,
        }
    }
}
