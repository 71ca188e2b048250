//! FPR over every order of equal scores.
//!
//! A ranking with ties stands for all the rankings in which equal scores are put in some order. In a
//! ranking without ties the FPR at a TPR depends on one image only: the one with which the fraction
//! of accepted positives would exceed the rate (or reach it, with OOD as the positive class). So
//! the extremes put the other set's scores of that image's tie all before it or all behind it.

use super::counts::Step;

/// Lowest and highest number of OOD images before the ID image number `number` (from 0, from the
/// highest score down), or before the end if there are fewer ID images.
fn ood_before(steps: &[Step], number: usize) -> (usize, usize) {
    let tie = steps.partition_point(|step| step.id <= number);
    let before = |index: usize| index.checked_sub(1).map_or(0, |i| steps[i].ood);
    match steps.get(tie) {
        Some(step) => (before(tie), step.ood),
        None => (before(steps.len()), before(steps.len())),
    }
}

/// Lowest and highest number of OOD images accepted by [`nearest`](super::fpr::nearest).
pub(super) fn of_nearest(steps: &[Step], id: usize, target: f64) -> (usize, usize) {
    let distance = |count: usize| (count as f64 / id as f64 - target).abs();
    // The counts around the rate are the only candidates; of two equally near, the higher counts.
    let guess = (target * id as f64) as usize;
    let last = (guess + 2).min(id);
    let near = (guess.saturating_sub(1)..last).rev().fold(last, |best, n| {
        if distance(n) < distance(best) {
            n
        } else {
            best
        }
    });
    if near == id {
        // The curve is followed down to the last ID image only.
        return ood_before(steps, id - 1);
    }
    let (low, high) = ood_before(steps, near);
    let first = steps[0];
    if near > 0 || first.id == 0 {
        return (low, high);
    }
    // No threshold accepts nothing: TPR 0 needs an OOD image at the top, else TPR is 1/N at least.
    let (low, high_after_id) = ood_before(steps, 1.min(id - 1));
    let low = if id == 1 { 0 } else { low };
    let high_after_id = if id == 1 { 0 } else { high_after_id };
    if first.ood == 0 {
        (low, high_after_id)
    } else {
        (low.min(1), high_after_id.max(high))
    }
}

/// Lowest and highest number of OOD images accepted by [`interpolated`](super::fpr::interpolated).
pub(super) fn of_interpolated(steps: &[Step], id: usize, target: f64) -> (usize, usize) {
    let guess = (target * id as f64) as usize;
    let at_most = |&n: &usize| n as f64 / id as f64 <= target;
    let kept = (guess.saturating_sub(1)..=(guess + 1).min(id))
        .rev()
        .find(at_most);
    ood_before(steps, kept.unwrap_or_default())
}

/// Lowest and highest number of ID images rejected by
/// [`first_reaching`](super::fpr::first_reaching).
pub(super) fn of_first_reaching(
    steps: &[Step],
    id: usize,
    ood: usize,
    target: f64,
) -> (usize, usize) {
    if target <= 0.0 {
        return (0, 0);
    }
    let guess = (target * ood as f64) as usize;
    let reaches = |&n: &usize| n as f64 / ood as f64 >= target;
    let rejected = (guess.saturating_sub(1)..=(guess + 1).min(ood)).find(reaches);
    // The last of the rejected OOD images, counted from the highest score down.
    let last = ood - rejected.unwrap_or(ood).max(1);
    let tie = steps.partition_point(|step| step.ood <= last);
    let above = |index: usize| index.checked_sub(1).map_or(0, |i| steps[i].id);
    (id - steps[tie].id, id - above(tie))
}
