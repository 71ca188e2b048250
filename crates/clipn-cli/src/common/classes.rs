//! Class names that a flag gives, and what was recognized in them.

use clipn::dataset::ListedClasses;
use clipn::prompts::{ClassList, ClassListForm};

use crate::common::error::CliError;
use crate::common::messages::{note, warning};

/// Class names to encode.
#[derive(Debug, Clone)]
pub(crate) struct ClassesToEncode {
    pub names: Vec<String>,
    /// Whether several of them may be the same, as in the list of ImageNet.
    pub allow_duplicates: bool,
}

/// Reads the class names of a flag. Notes in which form they were written. Duplicates are an error
/// unless they are allowed or the list is built in.
pub(crate) fn read(spec: &str, allow_duplicates: bool) -> Result<ClassList, CliError> {
    let list = ClassList::resolve(spec)?;
    if let Some(description) = list.description() {
        note(description);
    }
    check(&list, allow_duplicates)?;
    Ok(list)
}

/// Reads the class names of a flag to encode them.
pub(crate) fn to_encode(spec: &str, allow_duplicates: bool) -> Result<ClassesToEncode, CliError> {
    let list = read(spec, allow_duplicates)?;
    Ok(ClassesToEncode {
        allow_duplicates: allow_duplicates || is_built_in(&list),
        names: list.into_names().into(),
    })
}

/// Checks names for duplicates, which are noted if they are allowed, and for the reserved name.
pub(crate) fn check(list: &ClassList, allow_duplicates: bool) -> Result<(), CliError> {
    list.check_reserved()?;
    match list.duplicates() {
        Some(duplicates) if is_built_in(list) => note(format_args!(
            "the list has duplicate class names, which share their probability: {duplicates}"
        )),
        Some(duplicates) if allow_duplicates => warning(format_args!(
            "duplicate class names share their probability: {duplicates}"
        )),
        Some(_) => list.check_names()?,
        None => {}
    }
    Ok(())
}

fn is_built_in(list: &ClassList) -> bool {
    *list.form() == ClassListForm::BuiltIn
}

/// Names with synset ids, for matching class directories.
pub(crate) fn listed(list: &ClassList) -> ListedClasses {
    ListedClasses {
        names: list.names().names().to_vec(),
        synset_ids: list.synset_ids().unwrap_or_default().to_vec(),
    }
}

/// A built-in list by its name, for a benchmark.
pub(crate) fn built_in(name: &str) -> Option<ListedClasses> {
    ClassList::built_in(name).ok().as_ref().map(listed)
}
