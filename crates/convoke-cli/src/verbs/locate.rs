//! `convoke locate`: who offers a service.

use std::process::ExitCode;

use convoke::{Code, Name};
use serde::{Deserialize, Serialize};

use super::list::{NODES, Report, SERVICES, print, reports};
use crate::arguments::LocateArguments;
use crate::exit::{Exit, Failure};
use crate::join::{with_node, within};
use crate::render;
use crate::signals::Signals;
use crate::table::{Table, moment};

/// What the hub tells about a service.
#[derive(Deserialize)]
struct Service {
    providers: Vec<Provider>,
}

/// A node that offers it.
#[derive(Deserialize)]
struct Provider {
    node: String,
    /// Calls that it has.
    #[serde(default)]
    open: u64,
}

/// A provider as it is shown.
#[derive(Serialize)]
struct Shown {
    node: String,
    host: String,
    /// Since when it is there, in milliseconds since 1970.
    since_ms: u64,
    open: u64,
}

impl Shown {
    fn of(provider: Provider, nodes: &[Report]) -> Shown {
        let Provider { node, open } = provider;
        let report = nodes.iter().find(|report| report.name == node);
        let host = report.map(|report| report.text("host")).unwrap_or_default();
        let since_ms = report.map_or(0, |report| report.number("since_ms"));
        Shown { node, host, since_ms, open }
    }
}

pub(crate) async fn run(arguments: LocateArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let name = Name::parse(&arguments.service)?;
    with_node(&arguments.node, signals, async |node| {
        let what = format!("locate `{name}`");
        let report = within(&arguments.node, &what, node.get_value(format!("{SERVICES}{name}"))).await?;
        let service = report.and_then(|report| report.payload.decode::<Service>().ok());
        let Some(Service { providers }) = service.filter(|service| !service.providers.is_empty()) else {
            let message = format!("locate `{name}`: nobody offers it");
            return Err(Failure::new(Exit::Unavailable, Code::NoProvider.word(), message));
        };
        let nodes = reports(node, &arguments.node, NODES).await?;
        let providers = providers.into_iter().map(|provider| Shown::of(provider, &nodes));
        if json {
            print(providers.map(|provider| render::json(&provider)))?;
        } else {
            let mut table = Table::new(&["NODE", "HOST", "SINCE", "OPEN CALLS"]);
            for Shown { node, host, since_ms, open } in providers {
                table.row([node, host, moment(since_ms), open.to_string()]);
            }
            table.print()?;
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}
