//! Ready-made sources, processors and sinks.

mod channel;
mod dedupe;
mod generate;
mod log;
mod map;
mod null;
mod replay;
mod route;
mod specs;
mod state;
mod throttle;
mod window;

pub use channel::{ChannelSink, ChannelSource, channel};
pub use dedupe::Dedupe;
pub use generate::{Generate, generate};
pub use log::{Log, LogOptions, LogSink, LogSource};
pub use map::{Filter, Map, filter, map};
pub use null::Null;
pub use replay::{JsonLines, ReplayLetters};
pub use route::Router;
pub use throttle::Throttle;
pub use window::{Pane, Window, WindowSpec, window};
