"""Validation workers: claim a run, judge an adapter on its frozen backbone, report. No Django here."""
