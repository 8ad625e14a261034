//! How one provider is chosen among several, as the command line says it.

use std::str::FromStr;

use convoke::{Name, Selector};

/// What `--select` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Select {
    First,
    RoundRobin,
    Random,
    LeastBusy,
    Node(Name),
    Host(String),
    Master,
    CpuUsage,
    FreeRam,
}

impl FromStr for Select {
    type Err = String;

    fn from_str(text: &str) -> Result<Select, String> {
        Ok(match text.split_once(':') {
            Some(("node", name)) => Select::Node(Name::parse(name).map_err(|error| error.to_string())?),
            Some(("host", name)) if !name.is_empty() => Select::Host(name.to_owned()),
            _ => match text {
                "first" => Select::First,
                "round-robin" => Select::RoundRobin,
                "random" => Select::Random,
                "least-busy" => Select::LeastBusy,
                "master" => Select::Master,
                "cpu-usage" => Select::CpuUsage,
                "free-ram" => Select::FreeRam,
                _ => {
                    return Err("it is `first`, `round-robin`, `random`, `least-busy`, `node:NAME`, `host:NAME`, \
                                `master`, `cpu-usage` or `free-ram`"
                        .to_owned());
                }
            },
        })
    }
}

impl From<Select> for Selector {
    fn from(select: Select) -> Selector {
        match select {
            Select::First => Selector::First,
            Select::RoundRobin => Selector::RoundRobin,
            Select::Random => Selector::Random,
            Select::LeastBusy => Selector::LeastBusy,
            Select::Node(name) => Selector::Node(name.to_string()),
            Select::Host(name) => Selector::Host(name),
            Select::Master => Selector::Master,
            Select::CpuUsage => Selector::CpuUsage,
            Select::FreeRam => Selector::FreeRam,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_read_as_it_is_written() {
        assert_eq!("least-busy".parse(), Ok(Select::LeastBusy));
        assert_eq!("node:hall/3".parse(), Ok(Select::Node(Name::parse("hall/3").expect("a name"))));
        assert_eq!("host:press:7".parse(), Ok(Select::Host("press:7".to_owned())));
        for bad in ["", "First", "node", "node:", "node:a/+", "host:", "busy"] {
            assert!(bad.parse::<Select>().is_err(), "{bad}");
        }
    }
}
