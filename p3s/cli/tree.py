"""Every command, where it lives, and its line in the listings.

The listings are made from this table alone, so that ``p3s --help`` and shell completion import no command.
"""

from __future__ import annotations

__all__ = ["COMMANDS", "GROUPS"]

#: Group to its line in the listing; the empty one is `p3s` itself.
GROUPS: dict[str, str] = {
    "workflow": "Load, watch and end workflows.",
    "dag": "Look at stored DAGs, and run them again.",
    "job": "Create, watch and cancel jobs.",
    "job create": "Create jobs outside any workflow file.",
    "jobtype": "Look at classes of jobs, and limit them.",
    "pilot": "Start pilots, look at them, end them.",
    "host": "Ban hosts, and allow them again.",
    "dataset": "Register data, and look at it.",
    "token": "Say who may call the server.",
    "server": "Run the server, hold it back, keep its database.",
}

#: Command to ``module:function`` and its line in the listing, in the order of the listing.
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("p3s.cli.up:up", "Start a server and pilots here, until Ctrl-C."),
    "login": ("p3s.cli.login:login", "Check a token and keep it for later commands."),
    "status": ("p3s.cli.status:status", "Show what the server has, by state."),
    "why": ("p3s.cli.status:why", "Say in one sentence why a thing is where it is."),
    "completion": ("p3s.cli.completion:completion", "Print the script that completes commands in a shell."),
    "workflow load": ("p3s.cli.load:load", "Validate a file, store its DAG and start a workflow."),
    "workflow validate": ("p3s.cli.check:validate", "Show every problem of workflow files."),
    "workflow plan": ("p3s.cli.plan:plan", "Show what a file would run; nothing is stored."),
    "workflow schema": ("p3s.cli.check:schema", "Print the JSON Schema of workflow files, for editors."),
    "workflow list": ("p3s.cli.workflow:list_workflows", "List workflows, newest first."),
    "workflow show": ("p3s.cli.workflow:show", "Show one workflow and its jobs."),
    "workflow watch": ("p3s.cli.workflow:watch", "Follow a workflow to its end."),
    "workflow start": ("p3s.cli.workflow:start", "Let a held workflow go."),
    "workflow pause": ("p3s.cli.holds:pause_workflow", "Hold back what is not dispatched; what runs, runs on."),
    "workflow resume": ("p3s.cli.holds:resume_workflow", "Let a paused workflow go on."),
    "workflow retry": ("p3s.cli.holds:retry_workflow", "Run again what did not finish, keeping what did."),
    "workflow cancel": (
        "p3s.cli.workflow:cancel",
        "End workflows: their jobs are cancelled, payloads stopped.",
    ),
    "workflow delete": ("p3s.cli.workflow:delete", "Forget workflows that have ended or never started."),
    "workflow graph": ("p3s.cli.graph:graph", "Draw a workflow's graph, with states as colours."),
    "workflow export": ("p3s.cli.export:export", "Write a DAG as YAML, JSON, GraphML or DOT."),
    "workflow results": ("p3s.cli.workflow:results", "List the result files of a workflow, or fetch them."),
    "dag list": ("p3s.cli.dag:list_dags", "List stored DAGs."),
    "dag show": ("p3s.cli.dag:show", "Show a stored DAG and its text."),
    "dag diff": ("p3s.cli.dag:diff", "Show what changed between two versions of a DAG."),
    "dag numbers": ("p3s.cli.numbers:numbers", "List the numbers in a DAG's JSON results, for plots."),
    "dag run": ("p3s.cli.dag:run", "Start another workflow of a stored DAG."),
    "dag delete": ("p3s.cli.dag:delete", "Delete stored DAGs; their workflows stay."),
    "job create standalone": ("p3s.cli.create:standalone", "Create jobs from a file or from options."),
    "job try": ("p3s.cli.trial:try_job", "Run a job here and now, without a server."),
    "job list": ("p3s.cli.job:list_jobs", "List jobs, newest first."),
    "job show": ("p3s.cli.job:show", "Show one job and its attempts."),
    "job log": ("p3s.cli.job:log", "Print what a job wrote to stdout or stderr."),
    "job retry": ("p3s.cli.holds:retry_job", "Run a job again that did not finish."),
    "job cancel": ("p3s.cli.job:cancel", "Cancel jobs; what runs is stopped."),
    "job adjust": ("p3s.cli.many:adjust", "Change the priority or time limit of jobs, or hold them."),
    "job delete": ("p3s.cli.many:delete", "Forget standalone jobs that have ended or never started."),
    "jobtype list": ("p3s.cli.jobtype:list_jobtypes", "List jobtypes, their caps and what is open of them."),
    "jobtype limit": ("p3s.cli.jobtype:limit", "Cap the jobs of a type that run at once; 0 suspends it."),
    "pilot start": ("p3s.cli.pilot_start:start", "Run a pilot here, in the foreground."),
    "pilot list": ("p3s.cli.pilot:list_pilots", "List pilots, newest first."),
    "pilot show": ("p3s.cli.pilot:show", "Show one pilot."),
    "pilot log": ("p3s.cli.pilot:log", "Print a pilot's log if it is on this host."),
    "pilot drain": ("p3s.cli.pilot:drain", "Let pilots finish what they run, then exit."),
    "pilot kill": ("p3s.cli.pilot:kill", "Make pilots stop their payloads and exit."),
    "host list": ("p3s.cli.host:list_hosts", "List hosts with live pilots, and those that are banned."),
    "host ban": ("p3s.cli.host:ban", "Give a host no more jobs; what runs there runs on."),
    "host allow": ("p3s.cli.host:allow", "Give a banned host jobs again."),
    "dataset register": ("p3s.cli.dataset:register", "Say that data is there."),
    "dataset list": ("p3s.cli.dataset:list_datasets", "List datasets, newest first."),
    "dataset show": ("p3s.cli.dataset:show", "Show one dataset."),
    "token create": ("p3s.cli.token:create", "Make a token and print it, this once."),
    "token list": (
        "p3s.cli.token:list_tokens",
        "List all tokens, also those that have ended; secrets are never shown.",
    ),
    "token revoke": ("p3s.cli.token:revoke", "End a token now and for good."),
    "token rotate": ("p3s.cli.token:rotate", "Give a token a new secret and print it, this once."),
    "server start": ("p3s.cli.server:start", "Run the server in the foreground."),
    "server migrate": ("p3s.cli.server:migrate", "Bring the database to this version's tables."),
    "server pause": ("p3s.cli.holds:pause_server", "Give out no more jobs; what runs, runs on."),
    "server resume": ("p3s.cli.holds:resume_server", "Give out jobs again."),
    "server backup": ("p3s.cli.server:backup", "Write the whole database to a file, while the server works."),
    "server restore": ("p3s.cli.server:restore", "Fill an empty database from a backup."),
}
