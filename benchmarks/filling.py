"""Fills a PostgreSQL database with what a farm leaves behind in two weeks, by statements that write whole tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from p3s.clock import read_clock

if TYPE_CHECKING:
    from p3s.server.db import Database

__all__ = ["fill"]

#: Seconds in which all of it was loaded.
SPAN = 14 * 86400
#: Pilots that ever were; the newest of them are alive.
PILOTS, ALIVE = 500, 64

#: One workflow after another: the newest 2 % run, some of the others failed or were cancelled, a few are held. Each has
#: one job that reads a file, a family that works on what that made, and one that collects; one workflow is large.
_PLAN = """
CREATE TEMP TABLE plan AS
SELECT w AS id, size, sum(size) OVER (ORDER BY w) - size AS base, w % 4 AS owner, 1 + w % 20 AS dag,
  :now - :span * (:workflows - w + 1) / :workflows AS at,
  CASE WHEN w > :workflows - greatest(:workflows / 50, 1) THEN 'running' WHEN w % 50 = 0 THEN 'failed'
       WHEN w % 97 = 0 THEN 'cancelled' WHEN w % 499 = 0 THEN 'held' ELSE 'finished' END AS state
FROM (SELECT w, CASE WHEN w = greatest(:workflows - :workflows / 50, 1) THEN greatest(least(:jobs / 10, 9000), 3)
                ELSE greatest((:jobs - least(:jobs / 10, 9000)) / greatest(:workflows - 1, 1), 3) END AS size
      FROM generate_series(1, :workflows) AS w) AS sizes;
CREATE TEMP TABLE node AS
SELECT base + k AS id, plan.id AS workflow, k, size, base, owner, at, plan.state AS whole,
  CASE WHEN k = 1 THEN 'reduce' WHEN k = size THEN 'report' ELSE 'track' END AS family,
  CASE WHEN k = 1 THEN 'reduce' WHEN k = size THEN 'report' ELSE 'track-' || k END AS name,
  CASE plan.state
    WHEN 'failed' THEN CASE WHEN k = 2 THEN 'failed' WHEN k = size THEN 'skipped' ELSE 'finished' END
    WHEN 'cancelled' THEN CASE WHEN k <= size / 2 THEN 'finished' ELSE 'cancelled' END
    WHEN 'running' THEN CASE WHEN k = size THEN 'waiting' WHEN k <= 1 + size / 2 THEN 'finished'
                             WHEN k <= 3 + size / 2 THEN 'running' ELSE 'defined' END
    ELSE plan.state END AS state,
  at + CASE WHEN k = 1 THEN 1 WHEN k = size THEN 90 ELSE 20 + 60.0 * k / size END AS start
FROM plan, generate_series(1, size) AS k;
CREATE INDEX ON node (id);
ANALYZE plan;
ANALYZE node;
"""

#: What is in each table, parents first.
_ROWS = (
    """
    INSERT INTO dag (id, owner, name, version, digest, text, file, base, created)
    SELECT d, 'user' || d % 4, 'dag' || d, 1, md5('dag' || d), repeat('# a line of YAML' || chr(10), 60), 'dag.yaml',
      '/home', :now - :span FROM generate_series(1, 20) AS d
    """,
    """
    INSERT INTO requirement (id, digest, owner, jobtype, site, cpus, memory, timelimit, labels)
    SELECT 1 + o * 3 + t, md5('wish' || o || t), 'user' || o, (ARRAY['reduce', 'track', 'summary'])[t + 1], '', 1, 0,
      600, '[]' FROM generate_series(0, 3) AS o, generate_series(0, 2) AS t
    """,
    "INSERT INTO jobtype (name, cap, open) VALUES ('track', 500, 400), ('summary', 20, 0)",
    """
    INSERT INTO runtime (owner, dag, family, samples)
    SELECT owner, name, family, '[1.5, 2.5, 3.5]'::json
    FROM dag, unnest(ARRAY['reduce', 'track', 'report']) AS family
    """,
    """
    INSERT INTO workflow (id, uuid, owner, name, dag_id, state, params, site, created, touched, started, ended,
      on_deadline, deadline, late, critical_path, jobs, remaining, failures)
    SELECT id, md5('workflow' || id)::uuid, 'user' || owner, 'dag' || dag, dag, state,
      json_build_object('run', lpad(id::text, 6, '0')), '', at, at, CASE WHEN state <> 'held' THEN at END,
      CASE WHEN state IN ('finished', 'failed', 'cancelled') THEN at + 100 + id % 300 END, 'continue',
      at + 300 + :span * (id % 2),
      state <> 'held' AND id % 10 = 0, 300, size, CASE WHEN state IN ('running', 'held') THEN size / 2 ELSE 0 END,
      CASE WHEN state = 'failed' THEN 1 ELSE 0 END
    FROM plan
    """,
    """
    INSERT INTO job (id, uuid, workflow_id, requirement_id, name, family, owner, jobtype, state, reason, priority,
      timelimit, missing, due, rank, attempt, tolerated, noop, created, released, started, ended)
    SELECT id, md5('job' || id)::uuid, workflow,
      1 + owner * 3 + CASE family WHEN 'reduce' THEN 0 WHEN 'track' THEN 1 ELSE 2 END, name, family,
      'user' || owner, CASE family WHEN 'report' THEN 'summary' ELSE family END, state,
      CASE state WHEN 'failed' THEN 'exit-code' WHEN 'skipped' THEN 'upstream' WHEN 'cancelled' THEN 'cancelled-by' END,
      0, 600, CASE WHEN state IN ('waiting', 'held') THEN 1 ELSE 0 END, at + 600, size - k,
      CASE WHEN state IN ('finished', 'failed', 'running') THEN 1 + (id % 50 = 7)::int ELSE 0 END, false, false, at,
      CASE WHEN state NOT IN ('waiting', 'held') THEN start - 2 END,
      CASE WHEN state IN ('finished', 'failed', 'running') THEN start END,
      CASE WHEN state IN ('finished', 'failed') THEN start + 1 + id % 30
           WHEN state IN ('cancelled', 'skipped') THEN start END
    FROM node
    """,
    "INSERT INTO job_spec (job_id, body) SELECT id, json_build_object('run', 'python3 ' || name || '.py') FROM node",
    """
    INSERT INTO dataset (id, uuid, key, name, state, place, size, result, created)
    SELECT id, md5('raw' || id)::uuid, 'raw', 'raw', 'available', '/data/run' || lpad(id::text, 6, '0') || '.csv',
      1000000, false, at FROM plan
    """,
    """
    INSERT INTO blob (digest, size, data, created)
    SELECT md5('blob' || id), 40, convert_to('{"hits": ' || id || '}', 'UTF8'), at FROM plan WHERE state = 'finished'
    """,
    """
    INSERT INTO blob_number (digest, key, value)
    SELECT md5('blob' || id), 'hits', id FROM plan WHERE state = 'finished'
    """,
    """
    INSERT INTO dataset (id, uuid, workflow_id, producer_id, key, name, state, place, size, result, digest, created)
    SELECT :workflows + id, md5('made' || id)::uuid, workflow, id, 'out-' || k,
      CASE family WHEN 'track' THEN 'trk' ELSE family END,
      CASE WHEN state = 'finished' THEN 'available' WHEN state IN ('failed', 'skipped', 'cancelled') THEN 'failed'
           ELSE 'expected' END,
      CASE WHEN state = 'finished' THEN '/out/' || md5('workflow' || workflow)::uuid || '/' || name || '.json' END,
      5000, family = 'report', CASE WHEN family = 'report' AND state = 'finished' THEN md5('blob' || workflow) END, at
    FROM node
    """,
    """
    INSERT INTO job_input (job_id, dataset_id, name, key, partial)
    SELECT id, CASE WHEN k = 1 THEN workflow ELSE :workflows + base + 1 END, CASE WHEN k = 1 THEN 'raw' ELSE 'hits' END,
      CASE WHEN k = 1 THEN 'raw' ELSE 'out-1' END, false FROM node WHERE k < size
    UNION ALL
    SELECT base + size, :workflows + id, 'trk', 'out-' || k, false FROM node WHERE k > 1 AND k < size
    """,
    "INSERT INTO job_need (job_id, parent_id, done) SELECT base + size, base + 1, false FROM plan",
    """
    INSERT INTO pilot (id, uuid, hash, name, site, host, pid, version, state, status, slots, cpus, memory, labels,
      accepts, data, seen, done, created)
    SELECT p, md5('pilot' || p)::uuid, md5('hash' || p), 'pilot' || p, 'site' || p % 3, 'node' || p % 120, p, '0',
      CASE WHEN p > :pilots - :alive THEN 'running' ELSE 'stopped' END, 'OK', 8, 8, 0, '[]', '{}', '/data', :now,
      2000, :now - :span * (:pilots - p) / :pilots FROM generate_series(1, :pilots) AS p
    """,
    """
    INSERT INTO attempt (uuid, job_id, pilot_id, number, claim, state, reason, created, started, ended, exit_code,
      cpu_time, peak_memory)
    SELECT md5('try' || id || '-' || n)::uuid, id,
      :pilots - id % CASE WHEN state = 'running' THEN :alive ELSE :pilots END, n, 1,
      CASE WHEN n = 1 AND id % 50 = 7 THEN 'failed' WHEN state = 'finished' THEN 'succeeded' ELSE state END,
      CASE WHEN n = 1 AND id % 50 = 7 OR state = 'failed' THEN 'exit-code' END, start - 1, start,
      CASE WHEN state <> 'running' OR n = 1 AND id % 50 = 7 THEN start + 1 + id % 30 END,
      CASE WHEN state = 'finished' THEN 0 WHEN state = 'failed' THEN 3 END, 1.5, 50000000
    FROM node, generate_series(1, 1 + (id % 50 = 7)::int) AS n WHERE state IN ('finished', 'failed', 'running')
    ORDER BY id, n
    """,
    """
    INSERT INTO attempt_log (attempt_id, stream, start, data)
    SELECT id, 'stdout', 0, convert_to(repeat('a line of output' || chr(10), 10), 'UTF8') FROM attempt
    """,
    """
    INSERT INTO event (at, noun, uuid, signal, before, after, cause, tx)
    SELECT start + step.number, 'job', md5('job' || id)::uuid, step.signal, step.before, step.after, 'pilot', 1
    FROM node, (VALUES (0, 'release', 'waiting', 'defined'), (1, 'claim', 'defined', 'dispatched'),
      (2, 'begin', 'dispatched', 'running'), (3, 'succeed', 'running', 'finished'))
      AS step (number, signal, before, after)
    WHERE state IN ('finished', 'failed', 'running') ORDER BY id, step.number
    """,
    """
    INSERT INTO event (at, noun, uuid, signal, before, after, cause, tx)
    SELECT at, 'workflow', md5('workflow' || id)::uuid, 'start', 'held', 'running', owner, 1 FROM plan
    """,
    """
    INSERT INTO service (id, name, kind, owner, host, seen, last, last_at)
    SELECT s, 'daq' || s, 'injector', 'user0', 'daq', :now, '/data/run.csv', :now FROM generate_series(1, 3) AS s
    """,
    """
    INSERT INTO arrival (uuid, service_id, rule, place, stamp, size, identity, fate, workflow, arrived, decided)
    SELECT md5('file' || a)::uuid, 1 + a % 3, 'rule' || a % 5, '/data/run' || lpad(a::text, 6, '0') || '.csv',
      '1', 1000, md5(a::text), CASE WHEN a <= :workflows THEN 'started' WHEN a % 1000 = 1 THEN 'failed'
        WHEN a % 3 = 0 THEN 'dropped' ELSE 'duplicate' END,
      CASE WHEN a <= :workflows THEN md5('workflow' || a)::uuid END, :now - :span + a, :now - :span + a
    FROM generate_series(1, greatest(:jobs / 5, 3)) AS a
    """,
    """
    INSERT INTO minute (at, started, finished, failed, queue)
    SELECT (:now / 60)::bigint * 60 - m * 60, m % 70, m % 70, m % 3, 100 FROM generate_series(1, 11520) AS m
    """,
    "INSERT INTO site (name, server, env, pilots, data, changed) VALUES ('site0', '', '{}', 30, '/data', 0)",
    "INSERT INTO host (name, banned, reason, burnt, since) VALUES ('node200', true, 'it burns', '[]', 0)",
    """
    INSERT INTO datatype (name, ext, comment, owner, created)
    SELECT 'type' || t, '.t' || t, '', 'user0', 0 FROM generate_series(1, 5) AS t
    """,
)
#: Tables whose rows were numbered here.
_NUMBERED = ("dag", "requirement", "workflow", "job", "dataset", "pilot", "service")


def fill(db: Database, jobs: int, workflows: int) -> None:
    """Fill an empty database.

    Parameters
    ----------
    db : Database
        On PostgreSQL, by a user who may leave references unchecked.
    jobs, workflows : int
        How many; a workflow has three jobs at least.
    """
    values = {"jobs": jobs, "workflows": workflows, "now": read_clock(), "span": float(SPAN)}
    values |= {"pilots": PILOTS, "alive": ALIVE}

    def write(connection: sa.Connection) -> None:
        # References are right by construction; looking each up would take most of the time.
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        for statement in (*_PLAN.strip().split(";\n"), *_ROWS):
            known = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(sa.text(statement), known)
        for table in _NUMBERED:
            connection.execute(
                sa.text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")
            )

    db.write(write)
    # As the database does by itself some time after so many writes.
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM (ANALYZE)"))
