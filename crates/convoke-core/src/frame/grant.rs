//! What one principal gets, or loses: the frame that asks for it, and what of it is kept.

use super::{FrameError, Kind, Reader, put_short, put_u32, write};
use crate::proof::TokenKey;

/// A change of what one principal may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The node's number for the answer.
    pub id: u32,
    /// The principal, not yet validated.
    pub name: &'a [u8],
    /// What changes.
    pub change: Change<'a>,
}

/// What changes about a principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// There is a new one.
    Create {
        /// By which it proves who it is; none if the transport does that.
        key: Option<TokenKey>,
        /// What it may do, as text, not yet validated.
        rules: Vec<&'a str>,
    },
    /// It may do something else.
    Rules(Vec<&'a str>),
    /// It proves who it is by another key.
    Key(TokenKey),
    /// There is none any more.
    Revoke,
}

const CREATE: u8 = 0;
const CREATE_WITH_KEY: u8 = 1;
const RULES: u8 = 2;
const KEY: u8 = 3;
const REVOKE: u8 = 4;

impl<'a> Grant<'a> {
    pub(super) fn read(mut fields: Reader<'a>) -> Result<Grant<'a>, FrameError> {
        let id = fields.u32("a number")?;
        let name = fields.short_bytes("a name")?;
        let change = Change::read(&mut fields)?;
        fields.end()?;
        Ok(Grant { id, name, change })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write(out, Kind::Grant, |out| {
            put_u32(out, self.id);
            put_short(out, self.name);
            self.change.write(out);
        });
    }
}

impl<'a> Change<'a> {
    /// Reads it to the end of the fields.
    pub(crate) fn read(fields: &mut Reader<'a>) -> Result<Change<'a>, FrameError> {
        let offset = fields.offset();
        let key = |fields: &mut Reader<'a>| fields.array("a key of 32 bytes").map(TokenKey::from_bytes);
        Ok(match fields.u8("what changes")? {
            CREATE => Change::Create { key: None, rules: read_rules(fields)? },
            CREATE_WITH_KEY => Change::Create { key: Some(key(fields)?), rules: read_rules(fields)? },
            RULES => Change::Rules(read_rules(fields)?),
            KEY => Change::Key(key(fields)?),
            REVOKE => Change::Revoke,
            _ => return Err(FrameError { offset, expected: "0 to 4 (create, with a key, rules, key, revoke)" }),
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let put_rules = |out: &mut Vec<u8>, rules: &[&str]| {
            rules.iter().for_each(|rule| put_short(out, rule.as_bytes()));
        };
        match self {
            Change::Create { key: None, rules } => {
                out.push(CREATE);
                put_rules(out, rules);
            }
            Change::Create { key: Some(key), rules } => {
                out.push(CREATE_WITH_KEY);
                out.extend_from_slice(&key.to_bytes());
                put_rules(out, rules);
            }
            Change::Rules(rules) => {
                out.push(RULES);
                put_rules(out, rules);
            }
            Change::Key(key) => {
                out.push(KEY);
                out.extend_from_slice(&key.to_bytes());
            }
            Change::Revoke => out.push(REVOKE),
        }
    }
}

fn read_rules<'a>(fields: &mut Reader<'a>) -> Result<Vec<&'a str>, FrameError> {
    let mut rules = Vec::new();
    while !fields.is_empty() {
        rules.push(fields.short_text("a rule in UTF-8")?);
    }
    Ok(rules)
}
