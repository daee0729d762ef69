"""What a run leaves on disk: one folder, its `run.json`, its tables, nothing half-written."""

from modeconn.runs.folder import RunFolder
from modeconn.runs.inputs import refuse_inputs_inside, resolved
from modeconn.runs.record import RunRecord, read_record
from modeconn.runs.tables import read_csv

__all__ = ["RunFolder", "RunRecord", "read_csv", "read_record", "refuse_inputs_inside", "resolved"]
