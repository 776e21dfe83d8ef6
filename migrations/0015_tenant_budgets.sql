-- What a tenant makes is counted over time, and not only what is there: budgets have names of their own.
ALTER TABLE rate_windows DROP CONSTRAINT rate_windows_budget_check;
