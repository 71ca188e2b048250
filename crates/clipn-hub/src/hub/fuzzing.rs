//! What fuzz targets reach of the hub's answers.

use super::listing::Listing;
use super::plan::Plan;
use crate::HubName;
use crate::name::{is_commit, is_inside};

/// Reads what a hub says of a repository and plans what is fetched of it: nothing of it leads out of the cache.
pub fn plan(json: &[u8], name: &HubName) {
    let Ok(listing) = Listing::read(json, name) else {
        return;
    };
    assert!(is_commit(&listing.commit) && listing.files.iter().all(|file| is_inside(file)));
    let plan = Plan::of(
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
