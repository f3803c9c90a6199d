//! The compact form: of an entry's numbers those that differ from the entry before, by how much; of its texts and lists those
//! that are not empty; in place of a text that was sent already, which it was.
//!
//! A thousand jobs differ in their ids and times, and name a handful of tools; a thousand decisions name one runner. Each
//! of those texts is sent and checked once. A value is read over an earlier one, whose memory is used again; what is counted is
//! the memory that it has then, so that nobody makes it grow from one value to the next.

use barycenter_plugin_api::{List, Text};

/// What a value that is read may take in memory. A few bytes can stand for many: an entry of a list, a text by its number.
const MEMORY_MAX: usize = 1 << 30;

/// Why bytes cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("it ends too early")]
    Short,
    #[error("there is more after its end")]
    Long,
    #[error("a number is too large")]
    Number,
    #[error("a text is not UTF-8")]
    Utf8,
    #[error("it names what there is not")]
    Unknown,
    #[error("it is too large")]
    Size,
}

/// A value in the compact form.
pub(super) trait Wire {
    /// The fewest bytes that it takes.
    const LEAST: usize;
    /// What is known of the entry before it in a list.
    type Before: Default;
    /// Whether it need not be written.
    fn is_blank(&self) -> bool {
        false
    }
    /// What it is when it was not written. Takes no memory then.
    fn make_blank(&mut self) {}
    fn write(&self, to: &mut Writer<'_>, before: &mut Self::Before);
    /// Reads over what is here. After an error it holds whatever was read until then.
    fn read(&mut self, from: &mut Reader<'_>, before: &mut Self::Before) -> Result<(), Damage>;
}

/// A number or code, of which only the difference to another one is written.
pub(super) trait Number: Sized {
    fn to_bits(&self) -> u64;
    fn from_bits(bits: u64) -> Result<Self, Damage>;
}

/// Texts that are remembered while writing. A power of two.
const RECENT: usize = 64;

/// A text that was written: where, and its number.
#[derive(Clone, Copy, Default)]
struct Recent {
    begin: usize,
    length: usize,
    number: u64,
}

pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    recent: [Recent; RECENT],
    /// The one that was written or named last: very often it comes again.
    last: Recent,
    texts: u64,
}

/// In place of a text's number: there is none, or it follows.
const EMPTY: u64 = 0;
const FOLLOWS: u64 = 1;
const FIRST: u64 = 2;

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            recent: [Recent::default(); RECENT],
            last: Recent::default(),
            texts: 0,
        }
    }

    #[inline]
    fn number(&mut self, number: u64) {
        if number < 0x80 {
            return self.out.push(number as u8);
        }
        let mut bytes = [0; NUMBER];
        let length = put(&mut bytes, 0, number);
        self.out.extend_from_slice(&bytes[..length]);
    }

    /// Which of these numbers differ from those before, together with other bits; then by how much each of them does.
    #[inline]
    pub fn numbers<const N: usize>(&mut self, now: [u64; N], before: &mut [u64; N], others: u64) {
        let mut differ = 0;
        for (at, (now, before)) in now.iter().zip(before.iter()).enumerate() {
            differ |= u64::from(now != before) << at;
        }
        // Put together here and appended at once: asking for room byte by byte takes longer than the rest.
        let mut bytes = [0; 4 * NUMBER];
        let mut length = put(&mut bytes, 0, differ | others << N);
        while differ != 0 {
            let at = differ.trailing_zeros() as usize % N;
            if length > bytes.len() - NUMBER {
                self.out.extend_from_slice(&bytes[..length]);
                length = 0;
            }
            length = put(&mut bytes, length, folded(now[at].wrapping_sub(before[at])));
            differ &= differ - 1;
        }
        *before = now;
        // As many bytes every time are copied without a call.
        let end = self.out.len() + length;
        self.out.extend_from_slice(&bytes);
        self.out.truncate(end);
    }

    #[inline]
    fn text(&mut self, text: &str) {
        match text.len() {
            0 => self.number(EMPTY),
            length => self.text_of(text.as_bytes(), length),
        }
    }

    fn text_of(&mut self, text: &[u8], length: usize) {
        if self.is(self.last, text) {
            return self.number(self.last.number);
        }
        let slot = slot_of(text);
        self.last = self.recent[slot];
        if self.is(self.last, text) {
            return self.number(self.last.number);
        }
        self.number(FOLLOWS);
        self.number(length as u64);
        self.last = Recent {
            begin: self.out.len(),
            length,
            number: FIRST + self.texts,
        };
        self.recent[slot] = self.last;
        self.texts += 1;
        self.out.extend_from_slice(text);
    }

    #[inline]
    fn is(&self, recent: Recent, text: &[u8]) -> bool {
        let there = self.out.get(recent.begin..recent.begin + recent.length);
        there.is_some_and(|there| is_same(there, text))
    }
}

/// Whether two texts are the same: most are short, and a call would take longer than comparing them.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    match one.len() {
        length if length != other.len() => false,
        8..=16 => {
            one.first_chunk::<8>() == other.first_chunk::<8>()
                && one.last_chunk::<8>() == other.last_chunk::<8>()
        }
        4..8 => {
            one.first_chunk::<4>() == other.first_chunk::<4>()
                && one.last_chunk::<4>() == other.last_chunk::<4>()
        }
        _ => one == other,
    }
}

/// The most bytes of a number.
const NUMBER: usize = 10;

/// Writes a number, seven bits in a byte, the low ones first; returns where it ends.
#[inline]
fn put(bytes: &mut [u8], mut at: usize, mut number: u64) -> usize {
    while number >= 0x80 {
        bytes[at] = number as u8 | 0x80;
        number >>= 7;
        at += 1;
    }
    bytes[at] = number as u8;
    at + 1
}

/// Small differences of either sign are short: 0, -1, 1, -2 are 0, 1, 2, 3.
#[inline]
fn folded(difference: u64) -> u64 {
    (difference << 1) ^ ((difference as i64 >> 63) as u64)
}

#[inline]
fn unfolded(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// Where a text is looked for, from its ends and its length.
fn slot_of(text: &[u8]) -> usize {
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let half = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    let (first, last) = if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        (word(first), word(last))
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        (half(first), half(last))
    } else {
        let end = |byte: Option<&u8>| byte.copied().map_or(0, u64::from);
        (end(text.first()), end(text.last()))
    };
    let mixed = first ^ last.rotate_left(23) ^ text.len() as u64;
    // An odd constant near the golden ratio brings all bits into the high ones.
    (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize % RECENT
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    texts: Vec<&'a str>,
    memory: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            texts: Vec::new(),
            memory: 0,
        }
    }

    /// There must be nothing left. What was read takes so many bytes in memory.
    pub fn end(&self) -> Result<usize, Damage> {
        match self.bytes {
            [] => Ok(self.memory),
            _ => Err(Damage::Long),
        }
    }

    #[inline]
    fn number(&mut self) -> Result<u64, Damage> {
        match self.bytes {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.bytes = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_number(),
        }
    }

    /// As they were before, but for those that differ. Returns the other bits.
    #[inline]
    pub fn numbers<const N: usize>(&mut self, before: &mut [u64; N]) -> Result<u64, Damage> {
        let bits = self.number()?;
        let mut differ = bits & ((1 << N) - 1);
        while differ != 0 {
            let at = differ.trailing_zeros() as usize % N;
            before[at] = before[at].wrapping_add(unfolded(self.number()?));
            differ &= differ - 1;
        }
        Ok(bits >> N)
    }

    fn long_number(&mut self) -> Result<u64, Damage> {
        let mut number = 0;
        for (at, byte) in self.bytes.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if at == 9 && bits > 1 {
                return Err(Damage::Number);
            }
            number |= bits << (7 * at);
            if *byte < 0x80 {
                self.bytes = &self.bytes[at + 1..];
                return Ok(number);
            }
        }
        Err(match self.bytes.len() {
            0..10 => Damage::Short,
            _ => Damage::Number,
        })
    }

    #[inline]
    fn text(&mut self) -> Result<&'a str, Damage> {
        match self.number()? {
            EMPTY => Ok(""),
            FOLLOWS => self.new_text(),
            number => {
                let at = usize::try_from(number - FIRST).map_err(|_| Damage::Unknown)?;
                let text = *self.texts.get(at).ok_or(Damage::Unknown)?;
                self.count(text.len())?;
                Ok(text)
            }
        }
    }

    fn new_text(&mut self) -> Result<&'a str, Damage> {
        let length = usize::try_from(self.number()?).map_err(|_| Damage::Short)?;
        let (text, rest) = self.bytes.split_at_checked(length).ok_or(Damage::Short)?;
        let text = std::str::from_utf8(text).map_err(|_| Damage::Utf8)?;
        self.bytes = rest;
        self.texts.push(text);
        self.count(length)?;
        Ok(text)
    }

    /// How many entries a list has, each of at least so many bytes here and so many in memory.
    fn entries(&mut self, least: usize, size: usize) -> Result<usize, Damage> {
        let count = usize::try_from(self.number()?).map_err(|_| Damage::Short)?;
        if count > self.bytes.len() / least.max(1) {
            return Err(Damage::Short);
        }
        self.count(count.saturating_mul(size))?;
        Ok(count)
    }

    #[inline]
    fn count(&mut self, bytes: usize) -> Result<(), Damage> {
        self.memory = self.memory.saturating_add(bytes);
        match self.memory {
            0..=MEMORY_MAX => Ok(()),
            _ => Err(Damage::Size),
        }
    }
}

impl Number for u64 {
    #[inline]
    fn to_bits(&self) -> u64 {
        *self
    }

    #[inline]
    fn from_bits(bits: u64) -> Result<Self, Damage> {
        Ok(bits)
    }
}

impl Number for i64 {
    #[inline]
    fn to_bits(&self) -> u64 {
        *self as u64
    }

    #[inline]
    fn from_bits(bits: u64) -> Result<Self, Damage> {
        Ok(bits as Self)
    }
}

impl Number for u32 {
    #[inline]
    fn to_bits(&self) -> u64 {
        u64::from(*self)
    }

    #[inline]
    fn from_bits(bits: u64) -> Result<Self, Damage> {
        Self::try_from(bits).map_err(|_| Damage::Number)
    }
}

impl Wire for u64 {
    const LEAST: usize = 1;
    type Before = Self;

    #[inline]
    fn write(&self, to: &mut Writer<'_>, before: &mut Self) {
        to.number(folded(self.wrapping_sub(*before)));
        *before = *self;
    }

    #[inline]
    fn read(&mut self, from: &mut Reader<'_>, before: &mut Self) -> Result<(), Damage> {
        *before = before.wrapping_add(unfolded(from.number()?));
        *self = *before;
        Ok(())
    }
}

impl Wire for Text {
    const LEAST: usize = 1;
    type Before = ();

    #[inline]
    fn is_blank(&self) -> bool {
        self.is_empty()
    }

    #[inline]
    fn make_blank(&mut self) {
        if self.capacity() > 0 {
            *self = Self::new();
        }
    }

    #[inline]
    fn write(&self, to: &mut Writer<'_>, (): &mut ()) {
        to.text(self);
    }

    #[inline]
    fn read(&mut self, from: &mut Reader<'_>, (): &mut ()) -> Result<(), Damage> {
        let text = from.text()?;
        match (self.len(), text.len()) {
            // Asked first, because comparing nothing with nothing is slow: there is no memory behind empty texts, and on
            // some processors a comparison that looks there takes a hundred times as long as one that finds something.
            (0, 0) => {}
            (0, _) if self.capacity() == 0 => *self = text.into(),
            _ if is_same(self.as_bytes(), text.as_bytes()) => {}
            _ => {
                self.clear();
                self.push_str(text);
            }
        }
        from.count(self.capacity() - self.len())
    }
}

impl<T: Wire + Default> Wire for List<T> {
    const LEAST: usize = 1;
    type Before = ();

    #[inline]
    fn is_blank(&self) -> bool {
        self.is_empty()
    }

    #[inline]
    fn make_blank(&mut self) {
        if self.capacity() > 0 {
            *self = Self::new();
        }
    }

    #[inline]
    fn write(&self, to: &mut Writer<'_>, (): &mut ()) {
        to.number(self.len() as u64);
        let mut before = T::Before::default();
        for one in self {
            one.write(to, &mut before);
        }
    }

    #[inline]
    fn read(&mut self, from: &mut Reader<'_>, (): &mut ()) -> Result<(), Damage> {
        let count = from.entries(T::LEAST, size_of::<T>())?;
        if count == 0 && self.capacity() == 0 {
            return Ok(());
        }
        let mut before = T::Before::default();
        self.truncate(count);
        from.count(
            self.capacity()
                .saturating_sub(count)
                .saturating_mul(size_of::<T>()),
        )?;
        for one in self.iter_mut() {
            one.read(from, &mut before)?;
        }
        if self.len() == count {
            return Ok(());
        }
        let mut list = std::mem::take(self).into_vec();
        list.reserve_exact(count - list.len());
        while list.len() < count {
            // Some are made where they stay, and then read: moving each would take as long as reading it.
            let begin = list.len();
            list.resize_with(count.min(begin + 32), T::default);
            for one in &mut list[begin..] {
                one.read(from, &mut before)?;
            }
        }
        *self = list.into();
        Ok(())
    }
}

/// Structs: their numbers, those that differ most often first, and after a bar the rest. No field can be forgotten.
macro_rules! records {
    ($($name:ident { $($number:ident),+ | $($field:ident),* })+) => {
        $(
            impl Wire for $name {
                const LEAST: usize = 1;
                type Before = [u64; const { let numbers: &[&str] = &[$(stringify!($number)),+]; numbers.len() }];

                #[inline]
                fn write(&self, to: &mut Writer<'_>, before: &mut Self::Before) {
                    let Self { $($number,)+ $($field),* } = self;
                    let written = [$(!$field.is_blank()),*].into_iter().rev();
                    let written = written.fold(0, |bits, is| bits << 1 | u64::from(is));
                    to.numbers([$($number.to_bits()),+], before, written);
                    $(if !$field.is_blank() {
                        $field.write(to, &mut ());
                    })*
                }

                #[inline]
                fn read(&mut self, from: &mut Reader<'_>, before: &mut Self::Before) -> Result<(), Damage> {
                    let mut written = from.numbers(before)?;
                    let mut numbers = before.iter();
                    let Self { $($number,)+ $($field),* } = self;
                    $(*$number = Number::from_bits(numbers.next().copied().unwrap_or_default())?;)+
                    $(
                        match written & 1 {
                            0 => $field.make_blank(),
                            _ => $field.read(from, &mut ())?,
                        }
                        written >>= 1;
                    )*
                    match written {
                        0 => Ok(()),
                        _ => Err(Damage::Unknown),
                    }
                }
            }
        )+
    };
}
pub(super) use records;
