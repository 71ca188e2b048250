//! Section of scores that learn from the stream of images.

use super::html::escape;
use crate::streams::StreamRecord;

/// Id of the section.
pub(super) const ID: &str = "streams";

/// Returns the section.
pub(super) fn section(record: &StreamRecord) -> String {
    let mut table = String::from(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Streams\"><table>\n<thead><tr>",
    );
    for (column, heading) in StreamRecord::HEADINGS.iter().enumerate() {
        let class = if column < 2 { " class=\"word\"" } else { "" };
        table += &format!("<th{class}>{}</th>", escape(heading));
    }
    table += "</tr></thead>\n<tbody>\n";
    for result in &record.results {
        table += "<tr>";
        for (column, cell) in result.cells().iter().enumerate() {
            let cell = escape(cell);
            table += &if column < 2 {
                format!("<th scope=\"row\" class=\"word\"><bdi>{cell}</bdi></th>")
            } else {
                format!("<td>{cell}</td>")
            };
        }
        table += "</tr>\n";
    }
    table += "</tbody></table></div>";
    format!(
        "<section id=\"{ID}\">\n<h2>Streams</h2>\n{table}\n<p class=\"note\">{}</p>\n</section>",
        escape(record.caption().replace('\n', " "))
    )
}
