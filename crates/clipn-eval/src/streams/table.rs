use super::{StreamMetrics, StreamRecord, StreamResult};

impl StreamRecord {
    /// Headings of a table of the results; the first two columns are names.
    pub const HEADINGS: [&'static str; 9] = [
        "score",
        "stream with",
        "known + unknown",
        "AUROC",
        "FPR95",
        "accuracy",
        "without memory",
        "kept",
        "rejected",
    ];

    /// Describes the table of the results.
    pub fn caption(&self) -> String {
        let orders = match self.settings.orders {
            1 => "one random order".to_owned(),
            n => format!("mean ± sample standard deviation over {n} random orders"),
        };
        let batch = self.settings.batch;
        let is_one_batch = |result: &StreamResult| result.n_id + result.n_ood <= batch;
        // With a given part of unknown images, each order draws other images.
        let is_fixed = |result: &StreamResult| result.ood_share.is_none() && is_one_batch(result);
        let note = if self.results.iter().any(is_fixed) {
            "\nThe order has no effect on a stream that is no longer than a batch."
        } else {
            ""
        };
        format!(
            "Scores that learn from the stream of images: {orders}, batches of {batch}, in %.\n\
             without memory: AUROC / FPR95 of the same score that learns nothing; kept, rejected: known and \
             unknown images on the right side of the method's own threshold.{note}"
        )
    }
}

impl StreamResult {
    /// The cells of a row under [`StreamRecord::HEADINGS`].
    pub fn cells(&self) -> [String; 9] {
        let percent = |value: f64| format!("{:.2}", 100.0 * value);
        let varied = |pick: fn(&StreamMetrics) -> f64| match &self.std {
            Some(std) => format!("{} ± {}", percent(pick(&self.mean)), percent(pick(std))),
            None => percent(pick(&self.mean)),
        };
        let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), percent);
        let set = match self.kind {
            Some(kind) => format!("{} ({kind})", self.ood),
            None => self.ood.clone(),
        };
        [
            self.method.display_name().to_owned(),
            set,
            format!("{} + {}", self.n_id, self.n_ood),
            varied(|m| m.auroc),
            varied(|m| m.fpr95),
            optional(self.mean.accuracy),
            format!(
                "{} / {}",
                percent(self.fixed.auroc),
                percent(self.fixed.fpr95)
            ),
            optional(self.mean.kept),
            optional(self.mean.rejected),
        ]
    }
}
