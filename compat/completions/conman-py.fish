# Completion of conman-py and conmen-py for fish. Install as /usr/share/fish/vendor_completions.d/conman-py.fish,
# and link conmen-py.fish to it.

function __conman_py_names
    set -l server
    set -l words (commandline -opc)
    if set -l at (contains -i -- -d $words); and test (count $words) -gt $at
        set server -d $words[(math $at + 1)]
    end
    timeout 2 conman-py $server -q 2>/dev/null
end

for command in conman-py conmen-py
    complete -c $command -f -a '(__conman_py_names)' -d console
    complete -c $command -s d -x -a '(__fish_print_hostnames)' -d server
    complete -c $command -s e -x -d 'escape character'
    complete -c $command -s f -d force
    complete -c $command -s h -d help
    complete -c $command -s j -d join
    complete -c $command -s L -d license
    complete -c $command -s m -d monitor
    complete -c $command -s q -d query
    complete -c $command -s r -d 'names are regular expressions'
    complete -c $command -s V -d version
end
complete -c conman-py -n '__fish_is_first_token' -f -a run -d 'run a shell command'
complete -c conman-py -s b -d broadcast
complete -c conman-py -s F -r -d 'file of console names'
complete -c conman-py -s l -r -d 'log to file'
complete -c conman-py -s Q -d quiet
complete -c conman-py -s v -d verbose
complete -c conman-py -l status -d 'state of consoles'
complete -c conman-py -l json -d 'status for programs'
complete -c conman-py -l tail -d 'follow output'
complete -c conman-py -n '__fish_seen_subcommand_from run' -s p -x -d 'so many at a time'
complete -c conman-py -n '__fish_seen_subcommand_from run' -l credentials -r -d 'file to log in with'
complete -c conman-py -n '__fish_seen_subcommand_from run' -l timeout -x -d seconds
complete -c conmen-py -s g -x -d 'genders query'
complete -c conmen-py -s G -x -d 'window size'
complete -c conmen-py -s T -x -a '(__fish_complete_command)' -d 'terminal emulator'
