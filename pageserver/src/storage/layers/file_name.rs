//! Names of layer files, on disk and in remote storage: the layer's name and the generation that wrote it.

use std::fmt;
use std::str::FromStr;

use layer_format::{LayerName, ParseLayerNameError};
use types::Generation;

/// `NAME-GGGGGGGG`: generation in eight hexadecimal digits, so that two owners of a tenant never write one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::storage) struct LayerFileName {
    pub(in crate::storage) name: LayerName,
    pub(in crate::storage) generation: Generation,
}

impl fmt::Display for LayerFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.name, self.generation.0)
    }
}

impl FromStr for LayerFileName {
    type Err = ParseLayerNameError;

    fn from_str(text: &str) -> Result<Self, ParseLayerNameError> {
        let error = || ParseLayerNameError(text.to_owned());
        let (name, generation) = text.rsplit_once('-').ok_or_else(error)?;
        let generation = u32::from_str_radix(generation, 16).map(Generation).map_err(|_| error())?;
        let parsed = Self { name: name.parse()?, generation };
        if parsed.to_string() == text { Ok(parsed) } else { Err(error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Key, Lsn};

    #[test]
    fn names_round_trip() {
        let name = LayerName::delta(Key::MIN..Key::MAX, Lsn(0xAB)..Lsn(0xCD));
        let file = LayerFileName { name: name.clone(), generation: Generation(0x1f) };
        assert_eq!(file.to_string().parse(), Ok(file.clone()));
        for bad in
            [name.to_string(), format!("{file}.temporary"), format!("{name}-1f"), format!("{name}-0000001F")]
        {
            assert!(bad.parse::<LayerFileName>().is_err(), "{bad}");
        }
    }
}
