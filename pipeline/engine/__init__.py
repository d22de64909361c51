"""How tasks are carried out, whatever they do: child processes, their watchdog, what is done about failures."""
