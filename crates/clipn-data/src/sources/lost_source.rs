use std::error::Error;
use std::fmt;
use std::io;

/// Error of a source of images that ends early: it is not known how many images are lost.
///
/// It is the error of the last [`NamedImage`](crate::NamedImage) of the source, which stands for
/// what is lost rather than for an image.
#[derive(Debug)]
pub struct LostSource {
    read: u64,
    source: io::Error,
}

impl LostSource {
    /// Words of the message by which it is recognized in stored text.
    pub const MARK: &'static str = "of an unknown number of images";

    /// Wraps the error of a source from which `read` images were read.
    pub(crate) fn into_io_error(read: u64, source: io::Error) -> io::Error {
        io::Error::new(source.kind(), Self { read, source })
    }

    /// Returns the number of images before the damage.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Finds the error among the sources of another.
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let inner = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                .and_then(|inner| inner.downcast_ref());
            if inner.is_some() {
                return inner;
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Display for LostSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rest {} is lost, after {}", Self::MARK, self.read)
    }
}

impl Error for LostSource {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_below_other_errors_with_its_cause() {
        let cause = io::Error::new(io::ErrorKind::UnexpectedEof, "truncated");
        let error = LostSource::into_io_error(24, cause);
        assert_eq!(LostSource::find(&error).unwrap().read(), 24);
        let text = clipn_base::error::chain_in_one_line(&error);
        assert_eq!(
            text,
            "the rest of an unknown number of images is lost, after 24: truncated"
        );
        assert!(text.contains(LostSource::MARK));
        assert!(LostSource::find(&io::Error::other("x")).is_none());
    }
}
