use super::{Collective, Communicator, CommunicatorError, Gathered};

/// A world of one rank: every operation leaves the values unchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SingleProcess;

impl<T: Clone> Collective<T> for SingleProcess {
    fn all_gather(&self, values: &[T]) -> Result<Gathered<T>, CommunicatorError> {
        Ok(Gathered::new(values.to_vec(), vec![values.len()]))
    }

    fn all_reduce_sum(&self, _: &mut [T]) -> Result<(), CommunicatorError> {
        Ok(())
    }

    fn reduce_scatter_sum(&self, _: &mut [T]) -> Result<(), CommunicatorError> {
        Ok(())
    }

    fn all_gather_shares(&self, _: &mut [T]) -> Result<(), CommunicatorError> {
        Ok(())
    }

    fn broadcast(&self, root: usize, _: &mut [T]) -> Result<(), CommunicatorError> {
        if root == 0 {
            Ok(())
        } else {
            Err(CommunicatorError::InvalidRoot {
                rank: root,
                last: 0,
            })
        }
    }
}

impl Communicator for SingleProcess {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CommunicatorError> {
        Ok(vec![bytes.to_vec()])
    }

    fn abort(&self, _code: i32) {}
}
