/*
 * measured SECONDS PROGRAM ARGUMENTS...: runs a program, kills it after so many seconds, and writes its exit
 * status, the signal that ended it, its peak of resident memory in KiB and its CPU time in milliseconds to
 * descriptor 3.
 * As a program of its own it is small: Linux counts the memory of whoever forked towards the peak of the child.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t child;

static void on_alarm(int signal) {
    (void)signal;
    kill(child, SIGKILL);
}

static double ms(struct timeval time) { return time.tv_sec * 1e3 + time.tv_usec / 1e3; }

int main(int argc, char **argv) {
    if (argc < 3) return 127;
    child = fork();
    if (child == 0) {
        close(3);
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    signal(SIGALRM, on_alarm);
    alarm(atoi(argv[1]));
    int status;
    struct rusage usage;
    while (wait4(child, &status, 0, &usage) < 0)
        ;
    dprintf(3, "%d %d %ld %.0f\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1,
            WIFSIGNALED(status) ? WTERMSIG(status) : 0, usage.ru_maxrss,
            ms(usage.ru_utime) + ms(usage.ru_stime));
}
