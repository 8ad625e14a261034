//! Principals that may join besides who owns the hub: how each proves who it is, and what it may do.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::frame::{Change, FrameError, Reader};
use crate::limits::{GRANTERS_MAX, PRINCIPALS_MAX};
use crate::name::Name;
use crate::operation::GrantId;
use crate::proof::TokenKey;
use crate::refusal::{Code, Refusal};
use crate::rights::Rule;

/// One principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// By which it proves who it is; none if the transport does that.
    pub(crate) key: Option<TokenKey>,
    /// What it may do.
    pub(crate) rules: Vec<Rule>,
    /// Wall time at which it was created, in milliseconds since 1970.
    pub(crate) since_ms: u64,
}

/// The last change of rights that a hub has asked for: if nobody knew whether it was kept, it comes a second time, and
/// others may have changed the same principal between the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LastGrant {
    epoch: u64,
    number: u64,
    /// Its place among all operations.
    pos: u64,
    outcome: Result<(), Refusal>,
}

/// The last change that each hub has asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Granters(BTreeMap<[u8; 16], LastGrant>);

/// All principals.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Principals(BTreeMap<Name, Granted>);

impl Principals {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, name: &Name) -> Option<&Granted> {
        self.0.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Name, &Granted)> {
        self.0.iter()
    }

    /// Changes one, if that makes sense now.
    pub(super) fn change(&mut self, name: &Name, change: &Change<'_>, wall_ms: u64) -> Result<(), Refusal> {
        let bad = |why: &str| Refusal::new(Code::BadRequest, format!("token `{name}`: {why}"));
        let parsed = |rules: &[&str]| -> Result<Vec<Rule>, Refusal> {
            rules
                .iter()
                .map(|rule| rule.parse().map_err(|error: crate::rights::RuleError| bad(&error.to_string())))
                .collect()
        };
        let known = self.0.get_mut(name);
        match (change, known) {
            (Change::Create { .. }, Some(_)) => {
                let why = format!("token `{name}`: there is one already; revoke it first, or change its rules");
                return Err(Refusal::new(Code::Conflict, why));
            }
            (Change::Create { key, rules }, None) => {
                if self.0.len() >= PRINCIPALS_MAX {
                    let why = format!("token `{name}`: the hub has {PRINCIPALS_MAX}, which is all it may have");
                    return Err(Refusal::new(Code::Limit, why));
                }
                let granted = Granted { key: key.clone(), rules: parsed(rules)?, since_ms: wall_ms };
                self.0.insert(name.clone(), granted);
            }
            (Change::Rules(rules), Some(granted)) => granted.rules = parsed(rules)?,
            (Change::Key(key), Some(granted)) => granted.key = Some(key.clone()),
            (Change::Revoke, Some(_)) => {
                self.0.remove(name);
            }
            (Change::Rules(_) | Change::Key(_) | Change::Revoke, None) => {
                return Err(Refusal::new(Code::Conflict, format!("token `{name}`: there is none of this name")));
            }
        }
        Ok(())
    }

    pub(super) fn restore(&mut self, key: &[u8], row: &[u8]) -> Result<(), FrameError> {
        let name = Name::from_bytes(key).map_err(|_| FrameError { offset: 0, expected: "a name" })?;
        let mut fields = Reader::new(row, 0);
        let since_ms = fields.u64("milliseconds")?;
        let known = fields.u8("whether there is a key")? != 0;
        let key = TokenKey::from_bytes(fields.array("a key of 32 bytes")?);
        let mut rules = Vec::new();
        while !fields.is_empty() {
            let offset = fields.offset();
            let rule = fields.short_text("a rule")?.parse();
            rules.push(rule.map_err(|_| FrameError { offset, expected: "a rule that this version knows" })?);
        }
        self.0.insert(name, Granted { key: known.then_some(key), rules, since_ms });
        Ok(())
    }
}

impl Granters {
    /// What came of this change, if it was applied before.
    pub(super) fn outcome(&self, by: GrantId) -> Option<Result<(), Refusal>> {
        let last = self.0.get(&by.hub).filter(|last| (last.epoch, last.number) == (by.epoch, by.number))?;
        Some(last.outcome.clone())
    }

    /// Remembers what came of a change. Of too many hubs that which has asked for none for the longest time is forgotten.
    pub(super) fn granted(
        &mut self,
        by: GrantId,
        pos: u64,
        outcome: Result<(), Refusal>,
    ) -> (&LastGrant, Option<[u8; 16]>) {
        let mut forgotten = None;
        if self.0.len() >= GRANTERS_MAX && !self.0.contains_key(&by.hub) {
            forgotten = self.0.iter().min_by_key(|(_, last)| last.pos).map(|(hub, _)| *hub);
            forgotten.map(|hub| self.0.remove(&hub));
        }
        let last = LastGrant { epoch: by.epoch, number: by.number, pos, outcome };
        (self.0.entry(by.hub).insert_entry(last).into_mut(), forgotten)
    }

    pub(super) fn restore(&mut self, key: &[u8], row: &[u8]) -> Result<(), FrameError> {
        let hub = Reader::new(key, 0).array("a hub")?;
        let mut fields = Reader::new(row, 0);
        let (epoch, number) = (fields.u64("an epoch")?, fields.u64("a number")?);
        let (pos, code) = (fields.u64("a position")?, fields.u16("a code")?);
        let offset = fields.offset();
        let text = std::str::from_utf8(fields.rest()).map_err(|_| FrameError { offset, expected: "a sentence" })?;
        let outcome = if code == 0 { Ok(()) } else { Err(Refusal::new(Code::from_number(code), text.to_owned())) };
        self.0.insert(hub, LastGrant { epoch, number, pos, outcome });
        Ok(())
    }
}

impl LastGrant {
    pub(super) fn to_row(&self) -> Bytes {
        let mut row = [self.epoch, self.number, self.pos].map(u64::to_le_bytes).concat();
        let (code, text) = match &self.outcome {
            Ok(()) => (0, ""),
            Err(why) => (why.code as u16, &*why.text),
        };
        row.extend_from_slice(&code.to_le_bytes());
        row.extend_from_slice(text.as_bytes());
        row.into()
    }
}

impl Granted {
    pub(super) fn to_row(&self) -> Bytes {
        let mut row = self.since_ms.to_le_bytes().to_vec();
        row.push(u8::from(self.key.is_some()));
        row.extend_from_slice(&self.key.as_ref().map_or([0; 32], TokenKey::to_bytes));
        for rule in &self.rules {
            let rule = rule.to_string();
            row.extend_from_slice(&(rule.len() as u16).to_le_bytes());
            row.extend_from_slice(rule.as_bytes());
        }
        row.into()
    }
}
