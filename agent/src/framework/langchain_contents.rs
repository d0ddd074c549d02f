//! What runs of LangChain are given and give.

use super::CallerArgument;

/// What is copied of the callback manager's method that makes a run manager (`on_chain_start` and its
/// like; `langchain_core/callbacks/manager.py`, the same from 0.1 to 1.x): what the run is given, and
/// how it was called.
pub(super) const GIVEN: [CallerArgument; 5] = [
    // `inputs`, `prompts`, `messages`, `input_str`, `query`; what only copies a manager has no third.
    CallerArgument { index: 2, of: 5 },
    // `**kwargs` of chains and models; `parent_run_id` of the others.
    CallerArgument { index: 4, of: 5 },
    // `inputs` of a synchronous tool; `**kwargs` of an asynchronous one, and of a retriever.
    CallerArgument { index: 5, of: 6 },
    // `**kwargs` of a synchronous tool.
    CallerArgument { index: 6, of: 7 },
    // `serialized` of a tool or a retriever.
    CallerArgument { index: 1, of: 6 },
];
