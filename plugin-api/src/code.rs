//! Open codes: a number with known names, instead of an enum that could not grow.

/// Declares a code type: a transparent `u32` with named constants.
///
/// In human-readable formats it is written as its name (`"expand"`), a code without a name as
/// `"code-17"`; in binary formats it is the number.
macro_rules! codes {
    (
        $(#[$doc:meta])*
        $name:ident { $( $(#[$const_doc:meta])* $constant:ident = $number:literal, $text:literal; )+ }
    ) => {
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(::abi_stable::StableAbi, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            $( $(#[$const_doc])* pub const $constant: Self = Self($number); )+

            /// The name, or `None` for a code that this version of the contract does not know.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $( Self::$constant => Some($text), )+
                    _ => None,
                }
            }

            /// The code with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $( $text => Some(Self::$constant), )+
                    other => other.strip_prefix("code-")?.parse().ok().map(Self),
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "code-{}", self.0),
                }
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_u32(self.0)
                }
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let name = <::std::borrow::Cow<'de, str> as ::serde::Deserialize>::deserialize(deserializer)?;
                    Self::from_name(&name).ok_or_else(|| {
                        ::serde::de::Error::custom(format!(
                            "`{name}` is not a name of {}", stringify!($name)
                        ))
                    })
                } else {
                    <u32 as ::serde::Deserialize>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

pub(crate) use codes;

#[cfg(test)]
mod tests {
    use crate::JobVerdict;

    #[test]
    fn a_code_is_written_by_name_and_read_back() {
        let text = serde_json::to_string(&JobVerdict::PLACE).unwrap();
        assert_eq!(text, "\"place\"");
        assert_eq!(
            serde_json::from_str::<JobVerdict>(&text).unwrap(),
            JobVerdict::PLACE
        );
    }

    #[test]
    fn an_unknown_code_survives_the_round_trip() {
        let unknown = JobVerdict(917);
        let text = serde_json::to_string(&unknown).unwrap();
        assert_eq!(text, "\"code-917\"");
        assert_eq!(serde_json::from_str::<JobVerdict>(&text).unwrap(), unknown);
        assert_eq!(unknown.name(), None);
    }

    #[test]
    fn a_misspelt_name_is_refused() {
        assert!(serde_json::from_str::<JobVerdict>("\"plaec\"").is_err());
    }
}
