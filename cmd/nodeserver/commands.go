package main

import "github.com/spf13/cobra"

// commands are the verbs, each from a file of its name.
func commands(e env) []*cobra.Command {
	return []*cobra.Command{
		newRunCommand(e),
		newCheckCommand(e),
		newMembersCommand(e),
		newLBConfigCommand(e),
		newAppsCommand(e),
		newStatusCommand(e),
		newEventsCommand(e),
		newSessionsCommand(e),
		newConsoleCommand(e),
		newLogLevelCommand(e),
		newDrainCommand(e),
		newUndrainCommand(e),
		newRollingRestartCommand(e),
		newDemoCommand(e),
		newBalanceCommand(e),
		newNewCommand(e),
		newDevCommand(e),
		newBuildCommand(e),
		newDoctorCommand(e),
		newInitCommand(e),
		newSecretCommand(e),
		newTokenCommand(e),
		newVersionCommand(e),
	}
}
