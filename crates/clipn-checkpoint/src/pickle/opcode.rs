//! Opcodes of pickles, with the names of CPython's `pickletools`.

/// Pushes a mark.
pub(super) const MARK: u8 = b'(';
/// Ends the pickle; its value is on the stack.
pub(super) const STOP: u8 = b'.';
/// Discards the top of the stack.
pub(super) const POP: u8 = b'0';
/// Discards everything above the last mark.
pub(super) const POP_MARK: u8 = b'1';
/// Pushes a big-endian float.
pub(super) const BINFLOAT: u8 = b'G';
/// Pushes an integer of 4 bytes.
pub(super) const BININT: u8 = b'J';
/// Pushes an unsigned integer of 1 byte.
pub(super) const BININT1: u8 = b'K';
/// Pushes an unsigned integer of 2 bytes.
pub(super) const BININT2: u8 = b'M';
/// Pushes an integer of up to 255 bytes.
pub(super) const LONG1: u8 = 0x8a;
/// Pushes an integer with a length of 4 bytes.
pub(super) const LONG4: u8 = 0x8b;
/// Pushes None.
pub(super) const NONE: u8 = b'N';
/// Pushes True.
pub(super) const NEWTRUE: u8 = 0x88;
/// Pushes False.
pub(super) const NEWFALSE: u8 = 0x89;
/// Pushes a string of Python 2 with a length of 1 byte.
pub(super) const SHORT_BINSTRING: u8 = b'U';
/// Pushes a string of Python 2 with a length of 4 bytes.
pub(super) const BINSTRING: u8 = b'T';
/// Pushes a text with a length of 1 byte.
pub(super) const SHORT_BINUNICODE: u8 = 0x8c;
/// Pushes a text with a length of 4 bytes.
pub(super) const BINUNICODE: u8 = b'X';
/// Pushes a text with a length of 8 bytes.
pub(super) const BINUNICODE8: u8 = 0x8d;
/// Pushes bytes with a length of 1 byte.
pub(super) const SHORT_BINBYTES: u8 = b'C';
/// Pushes bytes with a length of 4 bytes.
pub(super) const BINBYTES: u8 = b'B';
/// Pushes bytes with a length of 8 bytes.
pub(super) const BINBYTES8: u8 = 0x8e;
/// Pushes a bytearray with a length of 8 bytes.
pub(super) const BYTEARRAY8: u8 = 0x96;
/// Pushes an empty list.
pub(super) const EMPTY_LIST: u8 = b']';
/// Pushes an empty tuple.
pub(super) const EMPTY_TUPLE: u8 = b')';
/// Pushes an empty dict.
pub(super) const EMPTY_DICT: u8 = b'}';
/// Pushes an empty set.
pub(super) const EMPTY_SET: u8 = 0x8f;
/// Makes a list of everything above the last mark.
pub(super) const LIST: u8 = b'l';
/// Makes a tuple of everything above the last mark.
pub(super) const TUPLE: u8 = b't';
/// Makes a tuple of the top item.
pub(super) const TUPLE1: u8 = 0x85;
/// Makes a tuple of the top two items.
pub(super) const TUPLE2: u8 = 0x86;
/// Makes a tuple of the top three items.
pub(super) const TUPLE3: u8 = 0x87;
/// Makes a dict of the keys and values above the last mark.
pub(super) const DICT: u8 = b'd';
/// Makes a set of everything above the last mark.
pub(super) const FROZENSET: u8 = 0x91;
/// Appends the top item to the list below it.
pub(super) const APPEND: u8 = b'a';
/// Appends everything above the last mark to the list below it.
pub(super) const APPENDS: u8 = b'e';
/// Adds everything above the last mark to the set below it.
pub(super) const ADDITEMS: u8 = 0x90;
/// Adds a key and a value to the dict below them.
pub(super) const SETITEM: u8 = b's';
/// Adds the keys and values above the last mark to the dict below it.
pub(super) const SETITEMS: u8 = b'u';
/// Stores the top of the stack in the memo, under an index of 1 byte.
pub(super) const BINPUT: u8 = b'q';
/// Stores the top of the stack in the memo, under an index of 4 bytes.
pub(super) const LONG_BINPUT: u8 = b'r';
/// Stores the top of the stack in the memo, under the next index.
pub(super) const MEMOIZE: u8 = 0x94;
/// Pushes a memo entry with an index of 1 byte.
pub(super) const BINGET: u8 = b'h';
/// Pushes a memo entry with an index of 4 bytes.
pub(super) const LONG_BINGET: u8 = b'j';
/// Pushes the object of a module and a name, one a line.
pub(super) const GLOBAL: u8 = b'c';
/// Pushes the object of the module and the name on the stack.
pub(super) const STACK_GLOBAL: u8 = 0x93;
/// Replaces an identifier by the object outside of the pickle.
pub(super) const BINPERSID: u8 = b'Q';
/// Calls a function with an argument tuple.
pub(super) const REDUCE: u8 = b'R';
/// Creates an object of a class with an argument tuple.
pub(super) const NEWOBJ: u8 = 0x81;
/// Sets the state of an object.
pub(super) const BUILD: u8 = b'b';
/// Declares the protocol version.
pub(super) const PROTO: u8 = 0x80;
/// Declares the length of the following frame.
pub(super) const FRAME: u8 = 0x95;
