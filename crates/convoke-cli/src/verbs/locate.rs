//! `convoke locate`: who offers a service.

use std::collections::HashMap;
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

/// Who offers it.
#[derive(Deserialize)]
struct Provider {
    node: String,
    #[serde(default)]
    since_ms: u64,
}

/// A provider as `--json` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    node: &'a str,
    host: &'a str,
    since_ms: u64,
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
        let hosts: HashMap<&str, String> = nodes.iter().map(|node| (node.name.as_str(), host(node))).collect();
        let host = |provider: &Provider| hosts.get(provider.node.as_str()).map_or("", String::as_str).to_owned();
        if json {
            print(providers.iter().map(|provider| {
                let Provider { node, since_ms } = provider;
                render::json(&Shown { node, host: &host(provider), since_ms: *since_ms })
            }))?;
        } else {
            let mut table = Table::new(&["NODE", "HOST", "SINCE"]);
            for provider in &providers {
                table.row([provider.node.clone(), host(provider), moment(provider.since_ms)]);
            }
            table.print()?;
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

fn host(node: &Report) -> String {
    node.text("host")
}
