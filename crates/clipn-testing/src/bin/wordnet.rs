//! `wordnet DIR OUT`: writes `clipn-text`'s word list from the database files of WordNet 3.0.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, out] = arguments.as_slice() else {
        eprintln!("usage: wordnet DIR OUT");
        return ExitCode::from(2);
    };
    let written = clipn_testing::wordnet::generate(directory.as_ref()).and_then(|asset| {
        std::fs::write(out, &asset).map_err(|e| format!("{out}: {e}"))?;
        Ok(asset.len())
    });
    match written {
        Ok(length) => {
            println!("{out}: {length} bytes");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}
