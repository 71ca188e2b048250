//! Python values of a PyTorch checkpoint, as plain data.

use std::fmt;
use std::sync::Arc;

use crate::Tensor;
use crate::error::escape_for_display;

/// Python value read from a `.pt` file. Nesting is limited when the file is read, so recursion over
/// a value is safe.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of up to 64 bits.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Str(Arc<str>),
    /// `bytes` or `bytearray`.
    Bytes(Arc<[u8]>),
    /// A list.
    List(Vec<Value>),
    /// A tuple or `torch.Size`.
    Tuple(Vec<Value>),
    /// A set or frozenset, in file order.
    Set(Vec<Value>),
    /// A dict, OrderedDict or defaultdict, in file order.
    Dict(Vec<(Value, Value)>),
    /// A tensor.
    Tensor(Tensor),
    /// A tensor whose element type is not a [`Dtype`](crate::Dtype), with PyTorch's name of that
    /// type.
    UnsupportedTensor(&'static str),
    /// A textual description of a harmless object: a dtype, a device, an integer of more than 64
    /// bits.
    Opaque(Arc<str>),
}

impl Value {
    /// Returns the value of a string key of a dict; of duplicate keys, the last.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_dict()?
            .iter()
            .rev()
            .find(|(k, _)| k.as_str() == Some(key))
            .map(|(_, value)| value)
    }

    /// Returns the value of an integer key of a dict, as in an optimizer's `state`, or the item at
    /// an index of a list or tuple.
    pub fn get_index(&self, index: i64) -> Option<&Value> {
        match self {
            Value::Dict(entries) => entries
                .iter()
                .rev()
                .find(|(k, _)| k.as_i64() == Some(index))
                .map(|(_, value)| value),
            _ => self.as_sequence()?.get(usize::try_from(index).ok()?),
        }
    }

    /// Returns the value of an integer.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the value of a float or integer.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            Value::Int(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// Returns the value of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the tensor.
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match self {
            Value::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Returns the items of a list or tuple.
    pub fn as_sequence(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the entries of a dict, in file order.
    pub fn as_dict(&self) -> Option<&[(Value, Value)]> {
        match self {
            Value::Dict(entries) => Some(entries),
            _ => None,
        }
    }
}

/// Formats as one short line: plain values in full, containers as their size and first keys.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::None => f.write_str("None"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value}"),
            Value::Str(text) | Value::Opaque(text) => f.write_str(&escape_for_display(text)),
            Value::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Value::List(items) => write!(f, "a list of {}", items.len()),
            Value::Tuple(items) => write!(f, "a tuple of {}", items.len()),
            Value::Set(items) => write!(f, "a set of {}", items.len()),
            Value::Dict(entries) => {
                write!(f, "a dictionary of {}", entries.len())?;
                let keys: Vec<String> = entries
                    .iter()
                    .filter_map(|(key, _)| key.as_str())
                    .take(4)
                    .map(escape_for_display)
                    .collect();
                match keys.len() {
                    0 => Ok(()),
                    n => write!(
                        f,
                        ": {}{}",
                        keys.join(", "),
                        if n < entries.len() { ", …" } else { "" }
                    ),
                }
            }
            Value::Tensor(tensor) => write!(f, "a tensor {} {:?}", tensor.dtype(), tensor.shape()),
            Value::UnsupportedTensor(dtype) => write!(f, "a tensor of {dtype}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Value {
        Value::Str(s.into())
    }

    #[test]
    fn gets_values_by_key_and_index() {
        let state = Value::Dict(vec![
            (Value::Int(7), text("seven")),
            (text("lr"), Value::Float(0.5)),
        ]);
        assert_eq!(state.get_index(7).and_then(Value::as_str), Some("seven"));
        assert_eq!(state.get("lr").and_then(Value::as_f64), Some(0.5));
        assert_eq!(state.get("7"), None);
        assert_eq!(
            Value::Tuple(vec![Value::None]).get_index(0),
            Some(&Value::None)
        );
        assert_eq!(Value::List(vec![]).get_index(-1), None);
    }

    #[test]
    fn displays_containers_by_size_and_keys() {
        let entries = ["a", "b", "c", "d", "e"].map(|key| (text(key), Value::None));
        assert_eq!(
            Value::Dict(entries.to_vec()).to_string(),
            "a dictionary of 5: a, b, c, d, …"
        );
        assert_eq!(Value::Dict(vec![]).to_string(), "a dictionary of 0");
    }
}
