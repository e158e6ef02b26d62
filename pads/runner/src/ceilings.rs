//! Ceilings of memory and tables, for engines and consumers alike.
//!
//! A program that asks for more is ended at once: one that goes on without the memory would have to
//! be trusted to say why it failed.

use wasmtime::ResourceLimiter;

/// Which of the two was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceiling {
    /// Bytes of linear memory.
    Memory,
    /// Elements of tables.
    Tables,
}

/// What is left of both, for all memories and tables of one store together.
#[derive(Debug)]
pub struct Ceilings {
    memory_bytes: u64,
    table_elements: u64,
    hit: Option<Ceiling>,
}

impl Ceilings {
    /// Nothing is used yet.
    pub fn new(memory_bytes: u64, table_elements: u32) -> Self {
        Self { memory_bytes, table_elements: table_elements.into(), hit: None }
    }

    /// The ceiling that ended the program, if one did.
    pub fn hit(&self) -> Option<Ceiling> {
        self.hit
    }

    fn refuse(&mut self, ceiling: Ceiling) -> wasmtime::Error {
        self.hit = Some(ceiling);
        wasmtime::Error::msg("a ceiling was hit")
    }
}

impl ResourceLimiter for Ceilings {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false); // its own bound: nothing is taken
        }
        match self.memory_bytes.checked_sub((desired - current) as u64) {
            Some(left) => self.memory_bytes = left,
            None => return Err(self.refuse(Ceiling::Memory)),
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        match self.table_elements.checked_sub((desired - current) as u64) {
            Some(left) => self.table_elements = left,
            None => return Err(self.refuse(Ceiling::Tables)),
        }
        Ok(true)
    }
}
