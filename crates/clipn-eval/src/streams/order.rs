use clipn_base::random::{RandomSource, Xoshiro256};

/// An image of a stream: its index in the in-distribution set or in the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamImage {
    pub(super) is_id: bool,
    pub(super) index: usize,
}

/// Shuffles two sets into one stream. With a share, images of one set are left out at random, so that this
/// part of the stream is out-of-distribution as nearly as whole images allow; at least one image of each
/// set stays.
pub(super) fn shuffled(
    id: usize,
    ood: usize,
    ood_share: Option<f64>,
    random: &mut Xoshiro256,
) -> Vec<StreamImage> {
    let (kept_id, kept_ood) = match ood_share {
        None => (id, ood),
        Some(share) if ood as f64 > share * (id + ood) as f64 => {
            let wanted = (id as f64 * share / (1.0 - share)).round() as usize;
            (id, wanted.clamp(1.min(ood), ood))
        }
        Some(share) => {
            let wanted = (ood as f64 * (1.0 - share) / share).round() as usize;
            (wanted.clamp(1.min(id), id), ood)
        }
    };
    let mut drawn = |count: usize, kept: usize, is_id: bool| -> Vec<StreamImage> {
        let mut indices: Vec<usize> = (0..count).collect();
        if kept < count {
            random.shuffle(&mut indices);
            indices.truncate(kept);
        }
        let image = |index| StreamImage { is_id, index };
        indices.into_iter().map(image).collect()
    };
    let mut stream = drawn(id, kept_id, true);
    stream.extend(drawn(ood, kept_ood, false));
    random.shuffle(&mut stream);
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(id: usize, ood: usize, share: Option<f64>) -> (usize, usize) {
        let stream = shuffled(id, ood, share, &mut Xoshiro256::new(7));
        for is_id in [true, false] {
            let mut indices: Vec<usize> = stream
                .iter()
                .filter(|image| image.is_id == is_id)
                .map(|image| image.index)
                .collect();
            indices.sort_unstable();
            indices.dedup();
            let expected = stream.iter().filter(|image| image.is_id == is_id).count();
            assert_eq!(indices.len(), expected, "no image twice");
        }
        let known = stream.iter().filter(|image| image.is_id).count();
        (known, stream.len() - known)
    }

    #[test]
    fn a_share_leaves_images_of_one_set_out() {
        assert_eq!(counts(300, 100, None), (300, 100));
        assert_eq!(counts(300, 100, Some(0.25)), (300, 100));
        assert_eq!(counts(300, 100, Some(0.5)), (100, 100));
        assert_eq!(counts(300, 100, Some(0.1)), (300, 33));
        assert_eq!(counts(300, 100, Some(0.001)), (300, 1));
        assert_eq!(counts(300, 2, Some(0.999)), (1, 2));
    }

    #[test]
    fn orders_of_other_seeds_differ() {
        let order = |seed| shuffled(50, 50, None, &mut Xoshiro256::new(seed));
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }
}
