//! Entry points for fuzz targets of the hub's responses.

use crate::hub::listing::Listing;
use crate::hub::plan::DownloadPlan;
use crate::hub_name::{HubName, is_commit, is_safe_path};

/// Parses a listing and plans its download. Panics if a path leaves the cache.
pub fn plan(json: &[u8], name: &HubName) {
    let Ok(listing) = Listing::parse(json, name) else {
        return;
    };
    assert!(is_commit(&listing.commit) && listing.files.iter().all(|file| is_safe_path(file)));
    let plan = DownloadPlan::new(
        name,
        |file| listing.files.contains(file),
        listing.files.iter().map(String::as_str),
    );
    let Ok(plan) = plan else { return };
    assert!(listing.files.contains(&plan.weights));
    assert!(
        plan.configs
            .iter()
            .all(|config| listing.files.contains(config))
    );
}
